// Tests name what they need beyond Node, and are skipped with the reason where the machine does not
// have it.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { describe, test } from '@jest/globals';
import { missingHistory } from './earlier-release.ts';
import { blkioDirectory } from './slow-disk.ts';
import {
  apiServerProgram,
  dockerVersions,
  earlierNode,
  etcdClientOfGo,
  etcdVersions,
  postgresTools,
  stampOf,
  umlKernel,
} from './tools.ts';

/**
 * `docker`: private engines on hosts, see host.ts. `loop`: file systems on loop devices, see
 * loop-fs.ts. `spin`: the model checker. `flock`: the kernel's file locks. `fuse`: file systems that
 * hang, see hung-file-system.ts. `uml`: hosts with their
 * own kernels, see uml-host.ts. `systemd`: its programs; systemd itself need not run. `throttle`: disks
 * with a limit of writes per second, see slow-disk.ts. `history`: earlier commits, see
 * earlier-release.ts. `registry`: a registry for images and plugins.
 * `go-etcd`: Go with etcd's client, from Debian. `compose`: Docker Compose. `podman`: Podman. `earlier-node`: the oldest Node of the lock library.
 * `kubernetes`: an API server, see kubernetes.ts.
 */
export type Requirement =
  | 'root'
  | 'etcd'
  | 'postgres'
  | 'docker'
  | 'registry'
  | 'compose'
  | 'podman'
  | 'earlier-node'
  | 'loop'
  | 'spin'
  | 'flock'
  | 'fuse'
  | 'uml'
  | 'gcc'
  | 'jq'
  | 'curl'
  | 'python3'
  | 'go-etcd'
  | 'systemd'
  | 'throttle'
  | 'history'
  | 'kubernetes';

/**
 * Works like `describe`, but skips the tests if a requirement is not met; with CI=true they fail
 * instead. Two may be missing there, too: earlier commits, which no set-up can bring into a shallow
 * clone, and the API server, which takes ten minutes to build.
 */
export function describeWith(
  requirements: readonly Requirement[],
  name: string,
  body: () => void,
): void {
  const missing = requirements.flatMap((requirement) => problems[requirement]());
  const others = requirements.filter((requirement) => !optional.includes(requirement));
  const mustRun = others.some((requirement) => problems[requirement]().length > 0);
  if (missing.length === 0) {
    describe(name, body);
    return;
  }
  const reason = [...new Set(missing)].join('; ');
  if (process.env.CI === 'true' && mustRun) {
    describe(name, () => {
      test('the machine meets the requirements', () => {
        throw new Error(`cannot run here: ${reason}`);
      });
    });
    return;
  }
  process.stderr.write(`skipped: ${name}: ${reason}\n`);
  describe.skip(`${name} (${reason})`, body);
}

const optional: readonly Requirement[] = ['history', 'kubernetes'];

const problems: Record<Requirement, () => string[]> = {
  root: () => (process.getuid?.() === 0 ? [] : ['needs root']),
  etcd: () => etcdVersions.flatMap((version) => missingSuite(`etcd ${version}`, stampOf(version))),
  postgres: () =>
    Object.values(postgresTools()).every((path) => existsSync(path))
      ? []
      : ['needs PostgreSQL (npm run pretest installs it as root)'],
  docker: () => [
    ...problems.root(),
    ...dockerVersions.flatMap((version) => missingSuite(`Docker ${version}`, stampOf(version))),
    ...missingPrograms(['ip', 'nsenter', 'unshare']),
    ...missingNamespaces(),
  ],
  registry: () => missingSuite('docker-registry', stampOf('registry')),
  compose: () => missingSuite('Docker Compose', stampOf('compose')),
  podman: () => missingSuite('Podman', stampOf('podman')),
  'earlier-node': () => missingSuite('Node 22', earlierNode()),
  loop: () => [
    ...problems.root(),
    ...(existsSync('/dev/loop-control') ? [] : ['needs loop devices']),
    ...missingPrograms(['mount', 'mkfs.ext4', 'mkfs.xfs', 'mkfs.btrfs']),
  ],
  fuse: () => [...problems.root(), ...(existsSync('/dev/fuse') ? [] : ['needs FUSE'])],
  flock: () => missingPrograms(['flock', 'lslocks']),
  uml: () => [
    ...problems.docker(),
    ...(umlKernel()
      ? []
      : ['needs a User Mode Linux that boots here (npm run pretest looks for it as root)']),
    ...missingPrograms(['modprobe', 'mkfs.ext4']),
  ],
  spin: () => missingPrograms(['spin', 'gcc']),
  gcc: () => missingPrograms(['gcc']),
  jq: () => missingPrograms(['jq']),
  curl: () => missingPrograms(['curl', 'openssl']),
  python3: () => missingPrograms(['python3']),
  'go-etcd': () => [
    ...missingPrograms(['go']),
    ...(etcdClientOfGo() === undefined
      ? ["needs etcd's client for Go (npm run pretest installs it as root)"]
      : []),
  ],
  systemd: () => missingPrograms(['systemd-socket-activate', 'systemd-analyze']),
  history: () => [missingHistory()].filter((reason) => reason !== undefined),
  kubernetes: () =>
    existsSync(apiServerProgram())
      ? []
      : ['needs an API server of Kubernetes (npm run test:kubernetes builds it in ten minutes)'],
  throttle: () => [
    ...problems.loop(),
    ...(existsSync(blkioDirectory) ? [] : [`needs the control groups of ${blkioDirectory}`]),
  ],
};

function missingSuite(what: string, stamp: string): string[] {
  return existsSync(stamp) ? [] : [`needs ${what} (npm run pretest fetches it)`];
}

function missingPrograms(names: readonly string[]): string[] {
  const directories = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin'];
  return names
    .filter((name) => !directories.some((directory) => existsSync(join(directory, name))))
    .map((name) => `needs ${name} (npm run pretest installs it as root)`);
}

/** Reports that namespaces can't be made: root in an ordinary container lacks the right. */
function missingNamespaces(): string[] {
  const probe = spawnSync('unshare', ['--net', '--mount', '--uts', 'true']);
  return probe.status === 0 ? [] : ['needs the right to make namespaces'];
}
