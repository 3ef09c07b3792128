// Builds an API server of Kubernetes for the tests, which Debian has as source only: about ten
// minutes on two quiet cores, once. `npm run test:kubernetes` runs this, and then the tests that need it.
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { cacheDirectory, ownApt } from './debian-suite.mjs';
import { mustExecute, say } from './execute.mjs';
import { root } from './fast-tests.mjs';

/** test/support/kubernetes.ts uses the same path. */
const directory = join(cacheDirectory, 'kubernetes');
const program = join(directory, 'kube-apiserver');
const release = 'bookworm';
const compiler = ['golang-1.19-go', 'golang-1.19-src', 'golang-github-modern-go-reflect2-dev'];

if (!existsSync(program)) await build();
const tests = spawnSync(
  'npm',
  ['test', '--', 'test/contract/stores/kubernetes', 'test/chaos/kubernetes'],
  {
    cwd: root,
    stdio: 'inherit',
  },
);
process.exitCode = tests.status ?? 1;

async function build() {
  const work = `${directory}.building`;
  rmSync(work, { recursive: true, force: true });
  mkdirSync(work, { recursive: true });
  try {
    say(`fetching the source of Kubernetes from Debian ${release}`);
    const settings = await ownApt(work, release);
    await mustExecute('apt-get', ['-qq', ...settings, 'source', '--download-only', 'kubernetes'], {
      cwd: work,
    });
    await mustExecute('apt-get', ['-qq', ...settings, 'download', ...compiler], { cwd: work });
    const tools = join(work, 'tools');
    for (const name of readdirSync(work).filter((each) => each.endsWith('.deb'))) {
      await mustExecute('dpkg', ['-x', join(work, name), tools]);
    }
    // Kubernetes 1.20 is built by path, not as a module: its go.mod is too old for this compiler.
    const source = join(work, 'go/src/k8s.io/kubernetes');
    mkdirSync(source, { recursive: true });
    const archive = readdirSync(work).find((name) => name.endsWith('.orig.tar.gz'));
    await mustExecute('tar', ['-xf', join(work, archive), '-C', source, '--strip-components=1']);
    replaceReflect2(source, join(tools, 'usr/share/gocode/src/github.com/modern-go/reflect2'));
    say('building kube-apiserver, which takes about ten minutes');
    const home = join(tools, 'usr/lib/go-1.19');
    const own = { GOROOT: home, GOPATH: join(work, 'go'), GOCACHE: join(work, 'compiled') };
    const env = { ...process.env, ...own, GO111MODULE: 'off', CGO_ENABLED: '0' };
    const go = (...args) => mustExecute(join(home, 'bin/go'), args, { cwd: source, env });
    const generator = join(work, 'openapi-gen');
    await go('build', '-o', generator, './vendor/k8s.io/kube-openapi/cmd/openapi-gen');
    await describeTypes(source, generator, env);
    await go(
      'build',
      '-ldflags',
      '-s -w',
      '-o',
      join(work, 'kube-apiserver'),
      './cmd/kube-apiserver',
    );
    mkdirSync(directory, { recursive: true });
    renameSync(join(work, 'kube-apiserver'), program);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Generates the one file of the source that Kubernetes' own build generates, too: its types for OpenAPI. */
async function describeTypes(source, generator, env) {
  const find = `grep -rl --include=*.go '+k8s:openapi-gen=' pkg staging/src/k8s.io |
    grep -v 'code-generator\\|sample-apiserver' | xargs -n1 dirname | sort -u |
    sed 's#^staging/src/#vendor/#; s#^#k8s.io/kubernetes/#' | paste -sd,`;
  const packages = (await mustExecute('sh', ['-c', find], { cwd: source })).trim();
  await mustExecute(
    generator,
    [
      ...['--logtostderr', '-i', packages, '-p', 'k8s.io/kubernetes/pkg/generated/openapi'],
      ...['-O', 'zz_generated.openapi', '-h', 'hack/boilerplate/boilerplate.generatego.txt'],
      ...['-r', join(source, 'violations')],
    ],
    { cwd: source, env },
  );
}

/** The reflect2 that Kubernetes 1.20 brings crashes on JSON with compilers from Go 1.18 on. */
function replaceReflect2(source, newer) {
  const old = join(source, 'vendor/github.com/modern-go/reflect2');
  for (const name of readdirSync(old).filter((each) => /\.(go|s)$/.test(each))) {
    rmSync(join(old, name));
  }
  cpSync(newer, old, { recursive: true });
}
