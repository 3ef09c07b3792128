// The programs and libraries that the tests use, with the Debian package of each.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { execute, mustExecute, say } from './execute.mjs';

const packageOf = {
  'mkfs.xfs': 'xfsprogs',
  setfattr: 'attr',
  'mkfs.btrfs': 'btrfs-progs',
  'mkfs.ext4': 'e2fsprogs',
  mount: 'mount',
  losetup: 'mount',
  nsenter: 'util-linux',
  unshare: 'util-linux',
  setpriv: 'util-linux',
  flock: 'util-linux',
  lslocks: 'util-linux',
  ip: 'iproute2',
  iptables: 'iptables',
  openssl: 'openssl',
  jq: 'jq',
  curl: 'curl',
  python3: 'python3',
  go: 'golang-go',
  spin: 'spin',
  // SPIN compiles its models. g++ depends on the headers of the C library; gcc only recommends
  // them.
  gcc: 'g++',
  initdb: 'postgresql',
  'systemd-socket-activate': 'systemd',
  // For guests with their own kernel.
  modprobe: 'kmod',
};

/** Libraries that tests compile with, with a file of each. */
const libraryOf = {
  '/usr/share/gocode/src/go.etcd.io/etcd': 'golang-etcd-server-dev',
};

/** Debian keeps each release's programs here, outside the search path. */
const postgresReleases = '/usr/lib/postgresql';
const clusterSettings = '/etc/postgresql-common/createcluster.conf';

export function missingTools() {
  const directories = [
    ...process.env.PATH.split(delimiter),
    ...['/usr/sbin', '/sbin'],
    ...(existsSync(postgresReleases) ? readdirSync(postgresReleases) : []).map((release) =>
      join(postgresReleases, release, 'bin'),
    ),
  ];
  const programs = Object.keys(packageOf).filter(
    (tool) => !directories.some((directory) => existsSync(join(directory, tool))),
  );
  return [...programs, ...Object.keys(libraryOf).filter((path) => !existsSync(path))];
}

export async function installTools() {
  const missing = missingTools();
  if (missing.length === 0) return;
  await installPackages([...new Set(missing.map((tool) => packageOf[tool] ?? libraryOf[tool]))]);
}

export async function installPackages(packages) {
  if (process.getuid() !== 0) {
    throw new Error(`Not root, so install by hand: ${packages.join(' ')}`);
  }
  say(`installing ${packages.join(', ')}`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', UCF_FORCE_CONFFOLD: '1' };
  // One broken third-party source fails the whole update, but the installation may still succeed.
  await execute('apt-get', ['-qq', 'update'], { env });
  const options = ['-qq', '--yes', '--no-install-recommends', '-o', 'DPkg::Lock::Timeout=120'];
  const install = () => mustExecute('apt-get', ['install', ...options, ...packages], { env });
  await (packages.includes('postgresql') ? withoutCluster(install) : install());
}

/**
 * Keeps the package from creating and starting a database for this machine; the tests start their
 * own.
 */
async function withoutCluster(install) {
  const before = existsSync(clusterSettings) ? readFileSync(clusterSettings, 'utf8') : '';
  mkdirSync(dirname(clusterSettings), { recursive: true });
  writeFileSync(clusterSettings, `${before}\ncreate_main_cluster = off\n`);
  try {
    await install();
  } finally {
    writeFileSync(clusterSettings, before);
  }
}
