import { readFile } from 'node:fs/promises';
import type { Machine } from './machine.ts';
import type { RunningProcess, StartOptions } from './processes.ts';
import { startProcess, succeeded, waitFor } from './processes.ts';

export interface Namespaces extends Omit<Machine, 'address'>, AsyncDisposable {
  /** A process inside. Its /proc/PID/root gives access to the files inside from outside. */
  readonly pid: number;
  /** Reads the mount table inside, without the start of a process: polls ask for it often. */
  mountInfo(): Promise<string>;
  /** Runs a command that must succeed; returns its output. */
  execOk(command: string, ...args: string[]): Promise<string>;
  /** Ends every process started by `spawn`, then the namespaces. */
  stop(): Promise<void>;
}

/**
 * Makes anonymous network, mount and UTS namespaces. A sleeping process keeps them, so nothing is
 * left when it and the processes inside have ended, even after a test run was killed. (`ip netns`
 * would leave files in /run, and `ip netns exec` remounts /sys, which hides the control groups.)
 */
export async function makeNamespaces(preparation = ''): Promise<Namespaces> {
  await using stack = new AsyncDisposableStack();
  // Mounts made inside stay inside; later mounts outside appear inside where the machine shares its
  // mounts.
  const separate = ['--net', '--mount', '--uts', '--propagation', 'slave'];
  const script = `set -e\nip link set lo up\n${preparation}\necho ready\nexec sleep infinity`;
  const keeper = stack.use(startProcess('unshare', [...separate, 'sh', '-c', script]));
  await waitFor(
    () => keeper.hasExited || keeper.output().endsWith('ready\n'),
    5_000,
    'new namespaces',
  );
  if (keeper.hasExited) {
    throw new Error(`cannot make namespaces: ${keeper.output().trim()}`);
  }

  const started = new Set<RunningProcess>();
  const enter = ['--target', String(keeper.pid), '--net', '--mount', '--uts'];

  function spawn(command: string, args: readonly string[], options: StartOptions = {}) {
    const { cwd, ...others } = options;
    const directory = cwd === undefined ? [] : [`--wdns=${cwd}`];
    // nsenter replaces itself with the command, so the pid is the command's.
    const running = startProcess('nsenter', [...enter, ...directory, command, ...args], others);
    started.add(running);
    const forget = () => started.delete(running);
    running.finished.then(forget, forget);
    return running;
  }

  async function exec(command: string, args: readonly string[], options: StartOptions = {}) {
    await using running = spawn(command, args, options);
    return await running.finished;
  }

  const owned = stack.move();
  owned.defer(async () => {
    await Promise.all([...started].map((running) => running.stop()));
  });

  return {
    pid: keeper.pid,
    mountInfo: () => readFile(`/proc/${keeper.pid}/mountinfo`, 'utf8'),
    spawn,
    exec,
    execOk: async (command, ...args) => succeeded([command, ...args], await exec(command, args)),
    stop: () => owned.disposeAsync(),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
