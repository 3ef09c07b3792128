import type { Place } from './place.ts';
import type { RunningProcess, StartOptions } from './processes.ts';
import { startProcess, succeeded, waitFor } from './processes.ts';

export interface Namespaces extends Omit<Place, 'address'>, AsyncDisposable {
  /** A process inside. Its /proc/PID/root is the way to the files in there from outside. */
  readonly pid: number;
  /** Runs a command that has to succeed. */
  execOk(command: string, ...args: string[]): Promise<string>;
  /** Ends everything that was started through `spawn`, then the namespaces themselves. */
  stop(): Promise<void>;
}

/**
 * Network, mount and UTS namespaces without a name: they belong to a process that only sleeps, so nothing of them is left
 * when it and those inside have ended, not even after a test run that was killed. (`ip netns` would leave files in /run,
 * and `ip netns exec` remounts /sys, which hides the control groups.)
 */
export async function makeNamespaces(preparation = ''): Promise<Namespaces> {
  await using stack = new AsyncDisposableStack();
  // What is mounted inside stays inside; what is mounted outside later comes in where the machine shares its mounts.
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
    // nsenter replaces itself by the command, so the pid is the command's.
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
    spawn,
    exec,
    execOk: async (command, ...args) => succeeded([command, ...args], await exec(command, args)),
    stop: () => owned.disposeAsync(),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
