import { chmod, mkdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { ControlGroups } from './control-groups.ts';
import { availableControlGroups, onlyVersion2 } from './control-groups.ts';
import { engineEnded, startEngine } from './docker-engine.ts';
import { powerCutOf, removeControlGroups } from './host-processes.ts';
import type { Machine } from './machine.ts';
import { makeNamespaces } from './namespaces.ts';
import type { Network } from './network.ts';
import type { FinishedProcess, RunningProcess } from './processes.ts';
import { runProcess, succeeded } from './processes.ts';
import { makeTemporaryDirectory } from './temporary-directory.ts';
import type { DockerVersion } from './tools.ts';
import { busyboxArchive, dockerTools } from './tools.ts';

export interface HostOptions {
  readonly docker?: DockerVersion;
  /** The host name. */
  readonly name?: string;
  /** The network of the host. Without one, the host has only its loopback. */
  readonly network?: Network;
  /** Further flags of dockerd, such as --live-restore. */
  readonly engineFlags?: readonly string[];
  /** True: root of a container is user and group `remappedRoot` of the host (`userns-remap`). */
  readonly isRemapped?: boolean;
  /** 1 by default; always 2 on a machine without version 1. */
  readonly controlGroups?: ControlGroups;
}

/** The first user of the map of a host with `isRemapped`. */
export const remappedRoot = 231_072;

/**
 * A machine with a Docker engine, made of namespaces: it shares only the kernel and the disk with
 * other hosts.
 */
export interface Host extends Machine, AsyncDisposable {
  readonly name: string;
  /** The version that the engine and the sentinel use. */
  readonly controlGroups: ControlGroups;
  /** The engine's socket, reachable from inside and outside. */
  readonly dockerSocket: string;
  /** The host's own directory, at the same path inside and outside. */
  readonly directory: string;
  /**
   * Returns the path by which a file inside the host is reached from outside: its /run and /etc are
   * private.
   */
  pathOf(path: string): string;
  /** Returns the mount table of the host. */
  mountInfo(): Promise<string>;
  execOk(command: string, ...args: string[]): Promise<string>;
  /** Runs the docker command of the engine's own version. */
  docker(...args: string[]): Promise<FinishedProcess>;
  /** Runs a docker command that must succeed; returns its output. */
  dockerOk(...args: string[]): Promise<string>;
  readonly enginePid: number;
  /** Returns the engine's log since its last start. */
  engineOutput(): string;
  /**
   * Ends dockerd and waits for its end. After SIGKILL the containers live on until the engine
   * starts again and ends them. It gives each its stop timeout of 10 seconds, so run containers
   * with --stop-timeout 0.
   */
  killEngine(signal?: NodeJS.Signals): Promise<void>;
  startEngine(): Promise<void>;
  /** Disconnects the host from its network. */
  disconnect(): Promise<void>;
  reconnect(): Promise<void>;
  /** Kills every process of the host at once, with its containers. Afterwards only `stop` works. */
  cutPower(): Promise<void>;
  stop(): Promise<void>;
}

// The private /run has /run/docker/plugins and the daemons' sockets; the private /etc the engine's
// key and the resolver. Nothing answers at its name server: otherwise a swarm task waits 20 seconds
// for the DNS timeout of a registry.
const preparation = `
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/docker/plugins /run/lock /run/etc /run/etc-work
mount -t overlay -o lowerdir=/etc,upperdir=/run/etc,workdir=/run/etc-work overlay /etc
mkdir -p /etc/docker
rm -f /etc/resolv.conf
echo nameserver 127.0.0.1 > /etc/resolv.conf`;

/**
 * Returns a script that ends a moment after the given one: a busy engine drops what a container prints just before its
 * end.
 */
export function lingering(script: string): string {
  return `(${script}\n); code=$?; sleep 0.2; exit $code`;
}

/** The engine takes the map of an existing user from its files. */
const mapping = `
echo daemon:${remappedRoot}:65536 | tee /etc/subuid > /etc/subgid`;

export async function startHost(options: HostOptions = {}): Promise<Host> {
  const { docker: version = '26.1', network, engineFlags = [], isRemapped = false } = options;
  await using stack = new AsyncDisposableStack();
  const temporary = stack.use(await makeTemporaryDirectory());
  const directory = temporary.path;
  const group = basename(directory);
  const name = options.name ?? group.toLowerCase();
  stack.defer(() => removeControlGroups(group));

  const controlGroups = availableControlGroups(options.controlGroups ?? 1, name);
  const groups = controlGroups === 2 ? onlyVersion2 : '';
  const prepared = preparation + groups + (isRemapped ? mapping : '');
  const namespaces = stack.use(await makeNamespaces(`hostname ${name}\n${prepared}`));
  if (isRemapped) await chmod(directory, 0o711); // The engine's data are for the remapped root, too.
  const cutPower = await powerCutOf(namespaces.pid, group);
  stack.defer(cutPower);
  const cable = await network?.attach(namespaces.pid);

  const dockerSocket = join(directory, 'docker.sock');
  const engineDirectory = join(directory, 'engine');
  const boot = () =>
    startEngine(namespaces, {
      version,
      directory: engineDirectory,
      socket: dockerSocket,
      controlGroup: group,
      flags: [...engineFlags, ...(isRemapped ? ['--userns-remap=daemon'] : [])],
    });
  let engine: RunningProcess = await boot();

  const clientDirectory = join(directory, 'client');
  await mkdir(clientDirectory);
  const environment = {
    DOCKER_HOST: `unix://${dockerSocket}`,
    DOCKER_CONFIG: clientDirectory,
    DOCKER_CONTEXT: '',
  };
  const docker = (...args: string[]) =>
    runProcess(dockerTools(version).docker, args, { env: environment });
  const dockerOk = async (...args: string[]) =>
    succeeded(['docker', ...args], await docker(...args));
  await dockerOk('import', '--change', 'CMD ["sh"]', busyboxArchive(), 'busybox:latest');

  async function killEngine(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    engine.kill(signal);
    await engineEnded(engine, engineDirectory);
  }

  function requireCable() {
    if (cable === undefined) throw new Error(`host ${name} is not on a network`);
    return cable;
  }

  const owned = stack.move();
  const stop = () => owned.disposeAsync();
  return {
    name,
    controlGroups,
    address: cable?.address ?? '127.0.0.1',
    dockerSocket,
    directory,
    pathOf: (path) => join(`/proc/${namespaces.pid}/root`, path),
    spawn: namespaces.spawn,
    exec: namespaces.exec,
    execOk: namespaces.execOk,
    mountInfo: namespaces.mountInfo,
    docker,
    dockerOk,
    get enginePid() {
      return engine.pid;
    },
    engineOutput: () => engine.output(),
    killEngine,
    startEngine: async () => {
      if (!engine.hasExited) throw new Error(`the engine of host ${name} is running`);
      engine = await boot();
    },
    disconnect: () => requireCable().disconnect(),
    reconnect: () => requireCable().reconnect(),
    cutPower,
    stop,
    [Symbol.asyncDispose]: stop,
  };
}
