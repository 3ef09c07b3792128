import { mkdir, readFile, rm } from 'node:fs/promises';
import { get } from 'node:http';
import { join } from 'node:path';
import { isAlive } from './host-processes.ts';
import type { Machine } from './machine.ts';
import type { RunningProcess } from './processes.ts';
import { waitFor } from './processes.ts';
import type { DockerVersion } from './tools.ts';
import { dockerTools } from './tools.ts';

export interface EngineOptions {
  readonly version: DockerVersion;
  /** Directory of the engine's data. An engine that is started on it again finds its containers. */
  readonly directory: string;
  readonly socket: string;
  readonly controlGroup: string;
  /** Further flags of dockerd, such as --live-restore. */
  readonly flags: readonly string[];
}

/** Starts dockerd and waits until it answers. The machine must have its own network namespace. */
export async function startEngine(machine: Pick<Machine, 'spawn'>, options: EngineOptions) {
  const { version, directory, socket } = options;
  const { dockerd, searchPath } = dockerTools(version);
  const at = (name: string) => join(directory, name);
  await mkdir(directory, { recursive: true });
  await forgetKilledEngine(directory);
  const flags = [
    ...['--data-root', at('data'), '--exec-root', at('exec'), '--pidfile', at('dockerd.pid')],
    ...['--host', `unix://${socket}`],
    // The control group identifies the processes of this host's containers.
    ...['--cgroup-parent', `/${options.controlGroup}`],
    ...['--exec-opt', 'native.cgroupdriver=cgroupfs'],
    // No test sends anything to a container, and a network costs each container a third of its CPU time.
    ...['--bridge=none', '--iptables=false', '--ip6tables=false'],
  ];
  const engine = machine.spawn(dockerd, [...flags, ...options.flags], {
    env: { PATH: searchPath },
    // If the test process is killed, dockerd still ends its containers.
    orphanSignal: 'SIGTERM',
  });
  try {
    await waitFor(() => engine.hasExited || answers(socket), 20_000, 'dockerd to answer');
    if (engine.hasExited) throw new Error('dockerd has ended');
  } catch (error) {
    await engine.stop();
    throw new Error(`cannot start Docker ${version}:\n${engine.output().slice(-3_000)}`, {
      cause: error,
    });
  }
  return engine;
}

/**
 * Waits until dockerd and its containerd have ended. When dockerd is killed, the kernel kills its
 * containerd, and a new engine must not find it still alive.
 */
export async function engineEnded(engine: RunningProcess, directory: string): Promise<void> {
  await engine.finished;
  const pid = await containerdPid(directory);
  if (pid === undefined) return;
  await waitFor(async () => !(await isAlive(pid)), 5_000, `containerd ${pid} to end`);
}

/** Removes pid files of a killed engine: dockerd refuses to start if they name any live process. */
async function forgetKilledEngine(directory: string): Promise<void> {
  for (const name of ['dockerd.pid', 'exec/containerd/containerd.pid']) {
    await rm(join(directory, name), { force: true });
  }
}

async function containerdPid(directory: string): Promise<number | undefined> {
  const file = join(directory, 'exec/containerd/containerd.pid');
  const text = await readFile(file, 'utf8').catch(() => undefined);
  return text === undefined ? undefined : Number(text);
}

function answers(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const request = get({ socketPath, path: '/_ping', timeout: 1_000 }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    request.on('timeout', () => request.destroy());
    request.on('error', () => resolve(false));
  });
}
