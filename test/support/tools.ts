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
  /** There is none in 3.4. */
  readonly etcdutl: string;
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
  const path = (name: string) => join(root, 'usr/bin', name);
  return { etcd: path('etcd'), etcdctl: path('etcdctl'), etcdutl: path('etcdutl') };
}

export interface PostgresTools {
  readonly initdb: string;
  readonly postgres: string;
  readonly psql: string;
  readonly dump: string;
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
    dump: join(bin, 'pg_dump'),
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

/** Returns the path of Debian's `docker-compose`. */
export function composeProgram(): string {
  return join(suiteDirectory('compose'), 'usr/libexec/docker/cli-plugins/docker-compose');
}

/** Returns the path of the oldest Node on which the lock library runs. */
export function earlierNode(): string {
  return join(cacheDirectory(), 'node-22/node_modules/node/bin/node');
}

/** Returns the directory of the programs and libraries of Debian's Podman. */
export function podmanDirectory(): string {
  return suiteDirectory('podman');
}

/** Returns the path of the API server that `npm run test:kubernetes` builds. */
export function apiServerProgram(): string {
  return join(cacheDirectory(), 'kubernetes/kube-apiserver');
}

/** Returns the path of the file that marks a version as unpacked: set-up writes it last. */
export function stampOf(version: DockerVersion | EtcdVersion | ToolSuite): string {
  const tool = toolSuites.find((suite) => suite === version);
  const suite = tool ?? suiteOf[version as DockerVersion | EtcdVersion];
  return join(suiteDirectory(suite), 'stamp');
}

/** The sets of programs that are unpacked by themselves. */
type ToolSuite = (typeof toolSuites)[number];
const toolSuites = ['registry', 'compose', 'podman'] as const;

function suiteDirectory(suite: 'bookworm' | 'trixie' | ToolSuite): string {
  return join(cacheDirectory(), suite);
}

export function cacheDirectory(): string {
  return join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'berth-test');
}

/** Debian's libraries for Go. */
export const librariesOfGo = '/usr/share/gocode';

/** Returns the directory that keeps what Go has compiled. */
export function goBuildCache(): string {
  return join(cacheDirectory(), 'go-build');
}

/** Returns the directory of etcd's client for Go, of etcd 3.5 or 3.4; undefined if it is not installed. */
export function etcdClientOfGo(): string | undefined {
  const etcd = join(librariesOfGo, 'src/go.etcd.io/etcd');
  return ['client/v3', 'clientv3'].map((name) => join(etcd, name)).find((path) => existsSync(path));
}
