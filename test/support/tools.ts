// The paths of the programs that scripts/set-up.mjs unpacks for the tests.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';

export type DockerVersion = '20.10' | '26.1';
export type EtcdVersion = '3.4' | '3.5';

export const dockerVersions = ['20.10', '26.1'] as const satisfies readonly DockerVersion[];
export const etcdVersions = ['3.4', '3.5'] as const satisfies readonly EtcdVersion[];

const suiteOf = {
  '20.10': 'bookworm',
  '26.1': 'trixie',
  '3.4': 'bookworm',
  '3.5': 'trixie',
} as const satisfies Record<DockerVersion | EtcdVersion, string>;

export interface DockerTools {
  readonly dockerd: string;
  readonly docker: string;
  readonly containerd: string;
  readonly runc: string;
  /** A search path on which the engine finds its own containerd and runc before any other. */
  readonly searchPath: string;
}

export interface EtcdTools {
  readonly etcd: string;
  readonly etcdctl: string;
}

export function dockerTools(version: DockerVersion): DockerTools {
  const root = suiteDirectory(suiteOf[version]);
  const own = [join(root, 'usr/sbin'), join(root, 'usr/bin')];
  return {
    dockerd: join(root, 'usr/sbin/dockerd'),
    docker: join(root, 'usr/bin/docker'),
    containerd: join(root, 'usr/bin/containerd'),
    runc: join(root, 'usr/sbin/runc'),
    searchPath: [...own, process.env.PATH ?? '', '/usr/sbin', '/sbin'].join(delimiter),
  };
}

export function etcdTools(version: EtcdVersion): EtcdTools {
  const root = suiteDirectory(suiteOf[version]);
  return { etcd: join(root, 'usr/bin/etcd'), etcdctl: join(root, 'usr/bin/etcdctl') };
}

export interface PostgresTools {
  readonly initdb: string;
  readonly postgres: string;
  readonly psql: string;
}

/**
 * Returns the programs of the newest installed release: Debian keeps them out of the search path.
 */
export function postgresTools(): PostgresTools {
  const releases = '/usr/lib/postgresql';
  const all = existsSync(releases) ? readdirSync(releases).map(Number) : [];
  const bin = join(releases, String(Math.max(0, ...all)), 'bin');
  return {
    initdb: join(bin, 'initdb'),
    postgres: join(bin, 'postgres'),
    psql: join(bin, 'psql'),
  };
}

export interface UmlKernel {
  /** The path of the kernel, which runs as an ordinary process. */
  readonly kernel: string;
  readonly modules: string;
  readonly version: string;
  /** The source of the kernel: `Debian sid` or `installed`. */
  readonly origin: string;
}

/** Returns the kernel of User Mode Linux that booted during set-up on this machine. */
export function umlKernel(): UmlKernel | undefined {
  const file = join(cacheDirectory(), 'uml-kernel.json');
  if (!existsSync(file)) return undefined;
  const found = JSON.parse(readFileSync(file, 'utf8')) as UmlKernel;
  return existsSync(found.kernel) ? found : undefined;
}

/** Returns the path of an image's root file system with only busybox, for `docker import`. */
export function busyboxArchive(): string {
  return join(suiteDirectory('bookworm'), 'busybox.tar');
}

/** Returns the path of Debian's `docker-registry`. */
export function registryProgram(): string {
  return join(suiteDirectory('registry'), 'usr/bin/docker-registry');
}

/** Returns the path of the file that marks a version as unpacked: set-up writes it last. */
export function stampOf(version: DockerVersion | EtcdVersion | 'registry'): string {
  return join(suiteDirectory(version === 'registry' ? version : suiteOf[version]), 'stamp');
}

function suiteDirectory(suite: 'bookworm' | 'trixie' | 'registry'): string {
  return join(cacheDirectory(), suite);
}

export function cacheDirectory(): string {
  return join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'berth-test');
}
