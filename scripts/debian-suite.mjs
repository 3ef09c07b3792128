// Unpacks Docker engines, etcd, a registry, Compose and Podman of two Debian releases, and a kernel of a third, below a cache
// directory, so that nothing is installed on the machine.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { rename, symlink } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, join, relative } from 'node:path';
import { execute, mustExecute, say } from './execute.mjs';

/** test/support/tools.ts uses the same path. */
export const cacheDirectory = join(
  process.env.XDG_CACHE_HOME || join(homedir(), '.cache'),
  'berth-test',
);

const programs = [
  ['usr/sbin/dockerd', '--version'],
  ['usr/bin/docker', '--version'],
  ['usr/bin/containerd', '--version'],
  ['usr/bin/containerd-shim-runc-v2', '-v'],
  ['usr/sbin/runc', '--version'],
  ['usr/bin/etcd', '--version'],
  ['usr/bin/etcdctl', 'version'],
];
const engine = ['docker.io', 'containerd', 'runc', 'tini', 'etcd-server', 'etcd-client'];
// Only used when this machine's own libraries are too old or absent.
const libraries = ['libc6', 'libgcc-s1', 'libseccomp2'];

/**
 * The order matters: bookworm's patchelf patches trixie's programs, because trixie's own would need
 * a patch itself.
 */
export const suites = {
  bookworm: {
    holds: 'Docker 20.10 and etcd 3.4',
    packages: [...engine, ...libraries, 'libdevmapper1.02.1', 'patchelf', 'busybox-static'],
    programs,
  },
  trixie: {
    holds: 'Docker 26.1 and etcd 3.5',
    packages: [...engine, ...libraries, 'docker-cli'],
    programs,
  },
  registry: {
    release: 'trixie',
    holds: 'a plugin registry',
    packages: ['docker-registry', 'libc6'],
    programs: [['usr/bin/docker-registry', '--version']],
  },
  compose: {
    release: 'trixie',
    holds: 'Docker Compose',
    packages: ['docker-compose', 'libc6'],
    programs: [['usr/libexec/docker/cli-plugins/docker-compose', 'version']],
  },
  /** test/support/podman.ts runs it with these libraries, and with the runc of bookworm. */
  podman: {
    release: 'bookworm',
    holds: 'Podman 4.3',
    packages: [
      ...['podman', 'conmon', 'libgpgme11', 'libassuan0', 'libsubid4', 'libdevmapper1.02.1'],
      ...['libseccomp2', 'libglib2.0-0'],
    ],
    programs: [],
  },
  /** Takes whatever version sid has today: see uml-kernel.mjs. */
  sid: {
    holds: 'User Mode Linux',
    packages: ['user-mode-linux', 'libc6'],
    programs: [['usr/bin/linux.uml', '--version']],
  },
};

/** Without sid: uml-kernel.mjs has an alternative. */
export const requiredSuites = ['bookworm', 'trixie', 'registry', 'compose', 'podman'];

/** Returns the name of the Debian release; a set of programs that is fetched by itself has another name. */
const releaseOf = (suite) => suites[suite].release ?? suite;
export const suiteDirectory = (suite) => join(cacheDirectory, suite);
// Names the recipe, so that a changed list of packages is fetched again.
const stampOf = (suite) => JSON.stringify(suites[suite].packages);

export function hasSuite(suite) {
  const stamp = join(suiteDirectory(suite), 'stamp');
  return existsSync(stamp) && readFileSync(stamp, 'utf8') === stampOf(suite);
}

/** Unpacks a suite. The stamp is written last: an interrupted attempt is removed and repeated. */
export async function unpackSuite(suite) {
  const directory = suiteDirectory(suite);
  const work = `${directory}.unpacking`;
  for (const stale of [work, directory]) {
    rmSync(stale, { recursive: true, force: true });
  }
  try {
    const files = join(work, 'files');
    mkdirSync(files, { recursive: true });
    say(`fetching ${suites[suite].holds} from Debian ${releaseOf(suite)}`);
    for (const archive of await download(suite, work)) {
      await mustExecute('dpkg', ['-x', archive, files]);
    }
    rmSync(join(files, 'usr/share'), { recursive: true, force: true });
    if (suite === 'bookworm') {
      await packBusybox(files);
    }
    await rename(files, directory);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  for (const [program, versionFlag] of suites[suite].programs) {
    await makeRunnable(directory, program, versionFlag);
  }
  writeFileSync(join(directory, 'stamp'), stampOf(suite));
}

async function download(suite, work) {
  const archives = join(work, 'archives');
  mkdirSync(archives, { recursive: true });
  const settings = await ownApt(work, releaseOf(suite));
  await mustExecute('apt-get', ['-qq', ...settings, 'download', ...suites[suite].packages], {
    cwd: archives,
  });
  return readdirSync(archives).map((name) => join(archives, name));
}

/**
 * Gives apt a state of its own below `work`, so that this machine's sources and installed packages
 * don't matter. Returns the options of apt-get that use it.
 */
export async function ownApt(work, release) {
  const keyring = '/usr/share/keyrings/debian-archive-keyring.gpg';
  if (!existsSync(keyring)) {
    throw new Error(`Install debian-archive-keyring (${keyring}) to fetch packages of Debian.`);
  }
  for (const directory of [join(work, 'lists/partial'), join(work, 'cache')]) {
    mkdirSync(directory, { recursive: true });
  }
  writeFileSync(join(work, 'status'), '');
  writeFileSync(
    join(work, 'sources.list'),
    ['deb', 'deb-src']
      .map((kind) => `${kind} [signed-by=${keyring}] ${debianMirror()} ${release} main\n`)
      .join(''),
  );
  const settings = [
    `Dir::Etc::sourcelist=${join(work, 'sources.list')}`,
    'Dir::Etc::sourceparts=/dev/null',
    `Dir::State::lists=${join(work, 'lists')}`,
    `Dir::State::status=${join(work, 'status')}`,
    `Dir::Cache=${join(work, 'cache')}`,
    // The user _apt must not write into a home directory.
    `APT::Sandbox::User=${process.getuid() === 0 ? 'root' : ''}`,
    'Acquire::Retries=2',
    'Acquire::http::Timeout=20',
  ].flatMap((setting) => ['-o', setting]);
  await mustExecute('apt-get', ['-qq', ...settings, '--error-on=any', 'update']);
  return settings;
}

/** Returns the mirror that this machine uses, if it runs Debian. */
function debianMirror() {
  const directory = '/etc/apt/sources.list.d';
  const files = ['/etc/apt/sources.list'];
  if (existsSync(directory)) {
    files.push(...readdirSync(directory).map((name) => join(directory, name)));
  }
  for (const file of files.filter((name) => existsSync(name))) {
    const match = /^(?:URIs:|deb)\s.*?(https?:\/\/\S+\/debian)\/?(?:\s|$)/m.exec(
      readFileSync(file, 'utf8'),
    );
    if (match) return match[1];
  }
  return 'http://deb.debian.org/debian';
}

/**
 * Links a program that needs a newer C library than this machine's to that of its own release. The
 * paths are written into the file, because runc executes itself again from /proc/self/exe, which a
 * wrapper script can't follow.
 */
async function makeRunnable(directory, program, versionFlag) {
  const path = join(directory, program);
  if ((await execute(path, [versionFlag])).code === 0) return;
  const files = readdirSync(directory, { recursive: true }).map((name) => join(directory, name));
  const loader = files.find((name) => /^ld-linux-.*\.so\.\d$/.test(basename(name)));
  const library = files.find((name) => basename(name) === 'libc.so.6');
  const own = new Set(files.filter((name) => name.endsWith('-linux-gnu')));
  const machine = [...own].map((name) => `/${relative(directory, name)}`);
  if (loader && library) {
    const patchelf = join(suiteDirectory('bookworm'), 'usr/bin/patchelf');
    const paths = [...own, ...machine, ...machine.map((name) => `/usr${name}`)].join(':');
    await mustExecute(patchelf, ['--set-interpreter', loader, '--set-rpath', paths, path]);
  }
  await mustExecute(path, [versionFlag]);
}

/** Makes a container image's root file system for `docker import`, without a registry. */
async function packBusybox(files) {
  const root = join(files, 'busybox');
  for (const directory of ['bin', 'etc', 'tmp']) {
    mkdirSync(join(root, directory), { recursive: true });
  }
  const busybox = join(root, 'bin/busybox');
  await mustExecute('cp', [join(files, 'bin/busybox'), busybox]);
  const applets = (await mustExecute(busybox, ['--list'])).trim().split('\n');
  for (const applet of applets.filter((name) => name !== 'busybox')) {
    await symlink('busybox', join(root, 'bin', applet));
  }
  writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0:root:/:/bin/sh\n');
  await mustExecute('tar', ['-C', root, '-cf', join(files, 'busybox.tar'), '.']);
  rmSync(root, { recursive: true, force: true });
}
