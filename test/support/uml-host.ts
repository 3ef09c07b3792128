import { mkdir, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { BerthHost } from './berth.ts';
import type { Network } from './network.ts';
import type { FinishedProcess, RunningProcess, StartOptions } from './processes.ts';
import { runOk, succeeded, waitFor } from './processes.ts';
import { makeTemporaryDirectory } from './temporary-directory.ts';
import type { UmlKernel } from './tools.ts';
import { busyboxArchive, dockerTools, umlKernel } from './tools.ts';
import { makeFreezer } from './uml-freeze.ts';
import { agentPort, initScript } from './uml-init.ts';

export interface UmlHostOptions {
  readonly network: Network;
  /** The host name. */
  readonly name: string;
  /** Directories of this machine that the guest shares at the same paths, like a file server's. */
  readonly shared?: readonly string[];
  /** True: `freeze` works; needs gcc. */
  readonly canFreeze?: boolean;
}

/**
 * A machine with its own kernel: User Mode Linux, which runs as an ordinary process. Its root is
 * this machine's, read-only, with a writable layer in memory, so it has all programs. A power cut
 * loses its unflushed writes and the next boot has a new boot ID; namespaces provide neither. It is
 * slow: starting a process takes ten times as long.
 */
export interface UmlHost extends BerthHost, AsyncDisposable {
  readonly address: string;
  /** A directory on the guest's disk, which survives power cuts; not visible from outside. */
  readonly directory: string;
  /**
   * Starts the guest's engine, Docker 26.1, and waits until it answers. Its containers have no
   * network.
   */
  startEngine(): Promise<void>;
  /** Runs the docker command outside the guest, where it is fast. */
  spawnDocker(...args: string[]): RunningProcess;
  docker(...args: string[]): Promise<FinishedProcess>;
  dockerOk(...args: string[]): Promise<string>;
  execOk(command: string, ...args: string[]): Promise<string>;
  /** Loads modules of its kernel. */
  loadModules(...names: string[]): Promise<void>;
  /** Ends the guest at once, with its kernel. */
  cutPower(): Promise<void>;
  /** The process below which the kernel runs; its end is a power cut. */
  readonly pid: number;
  /** Stops the guest with its kernel, as a hypervisor pauses a virtual machine. */
  freeze(): Promise<void>;
  /** Continues it. `clockCounts: false`: its clocks have not counted the pause. Without effect if it is not frozen. */
  thaw(options: { readonly clockCounts: boolean }): Promise<void>;
  /** Loses packets in both directions until `reconnect`. */
  disconnect(): Promise<void>;
  reconnect(): Promise<void>;
  /** Boots the guest again after a power cut. Its disk has what its kernel had written. */
  boot(): Promise<void>;
}

const enginePort = 2375;

export async function startUmlHost(options: UmlHostOptions): Promise<UmlHost> {
  const { network, name, shared = [], canFreeze = false } = options;
  const { kernel: program, modules, version, origin } = requireUmlKernel();
  await using stack = new AsyncDisposableStack();
  const outside = stack.use(await makeTemporaryDirectory()).path;
  const cable = await network.attachMachine();
  const directory = join(outside, 'disk');
  const disk = join(outside, 'disk.img');
  const init = join(outside, 'init');
  await Promise.all([
    mkdir(directory),
    makeDisk(disk),
    linkModules(modules, outside),
    writeFile(init, initScript({ name, address: cable.address, directory, outside, shared }), {
      mode: 0o755,
    }),
  ]);

  const freezer = canFreeze ? await makeFreezer(program, outside) : undefined;

  // With their own PID namespace, all processes of the guest end with the first one. The copies of
  // this machine's mounts must end with the mounts: they would keep the volumes of other tests in use.
  const separate = ['--pid', '--fork', '--kill-child', '--mount-proc', '--propagation', 'slave'];
  const kernel = [
    ...[program, 'mem=1G', 'root=/dev/root', 'rootfstype=hostfs', 'ro', `init=${init}`],
    ...[`uml_dir=${outside}`, `ubd0=${disk}`, 'con=null', 'con0=null,fd:1', 'quiet', 'loglevel=1'],
    // A fixed MAC address, so that no neighbour cache gets stale at a boot; without gro the card
    // drops large packets.
    `vec0:transport=tap,ifname=${cable.device},depth=64,gro=1,mac=${cardAddress(cable.address)}`,
  ];
  let machine: RunningProcess | undefined;
  const commands = new Set<RunningProcess>();

  async function boot(): Promise<void> {
    if (machine && !machine.hasExited) throw new Error(`host ${name} is running`);
    const booting = network.spawn('unshare', [...separate, ...kernel], {
      env: freezer?.env ?? {},
    });
    machine = booting;
    const isUp = () => booting.hasExited || booting.output().includes('the guest takes commands');
    await waitFor(isUp, 60_000, `${name} to boot`);
    if (booting.hasExited) throw new Error(`cannot boot ${name}: ${booting.output()}`);
    process.stderr.write(`host ${name} runs Linux ${version} (${origin})\n`);
  }

  async function cutPower(): Promise<void> {
    machine?.kill('SIGKILL');
    for (const command of commands) command.kill('SIGKILL');
    await Promise.all([machine, ...commands].map((each) => each?.finished));
  }

  function kernelProcess(): RunningProcess {
    if (machine === undefined) throw new Error(`host ${name} does not run`);
    return machine;
  }
  async function freeze(): Promise<void> {
    if (!freezer) throw new Error(`host ${name} was started without canFreeze`);
    await freezer.freeze(kernelProcess().pid);
  }

  function spawn(command: string, args: readonly string[], { env, cwd, input }: StartOptions = {}) {
    return watched([
      ...['node', join(import.meta.dirname, 'guest-command.mjs'), cable.address, `${agentPort}`],
      JSON.stringify({ command, args, env, cwd, input }),
    ]);
  }
  function watched([command = '', ...args]: readonly string[], env = {}): RunningProcess {
    const running = network.spawn(command, args, { env });
    commands.add(running);
    const forget = () => commands.delete(running);
    running.finished.then(forget, forget);
    return running;
  }
  async function exec(command: string, args: readonly string[], others?: StartOptions) {
    await using running = spawn(command, args, others);
    return await running.finished;
  }

  const tools = dockerTools('26.1');
  const dockerSocket = '/run/docker.sock';
  const spawnDocker = (...args: string[]) =>
    watched([tools.docker, ...args], {
      DOCKER_HOST: `tcp://${cable.address}:${enginePort}`,
      DOCKER_CONFIG: outside,
      DOCKER_CONTEXT: '',
    });
  async function docker(...args: string[]) {
    await using running = spawnDocker(...args);
    return await running.finished;
  }
  const dockerOk = async (...args: string[]) =>
    succeeded(['docker', ...args], await docker(...args));

  async function startEngine(): Promise<void> {
    const flags = [
      ...['--data-root', join(directory, 'engine'), '--exec-root', '/run/engine'],
      ...['--host', `unix://${dockerSocket}`, '--host', `tcp://0.0.0.0:${enginePort}`],
      ...['--tls=false', '--bridge=none', '--iptables=false', '--ip6tables=false'],
      ...['--exec-opt', 'native.cgroupdriver=cgroupfs'],
    ];
    const engine = spawn(tools.dockerd, flags, { env: { PATH: tools.searchPath } });
    const answers = async () => engine.hasExited || (await docker('version')).code === 0;
    await waitFor(answers, 60_000, `the engine of ${name}`);
    if (engine.hasExited) throw new Error(`dockerd has ended: ${engine.output().slice(-3_000)}`);
    if ((await dockerOk('images', '--quiet', 'busybox')) === '') {
      await dockerOk('import', '--change', 'CMD ["sh"]', busyboxArchive(), 'busybox:latest');
    }
  }

  const execOk = async (command: string, ...args: string[]) =>
    succeeded([command, ...args], await exec(command, args));

  stack.defer(cutPower);
  await boot();
  const owned = stack.move();
  return {
    name,
    address: cable.address,
    directory,
    dockerSocket,
    spawn,
    exec,
    execOk,
    loadModules: async (...names) => {
      await execOk('modprobe', '-d', outside, '-a', ...names);
    },
    startEngine,
    spawnDocker,
    docker,
    dockerOk,
    cutPower,
    boot,
    get pid() {
      return kernelProcess().pid;
    },
    freeze,
    thaw: async (how) => freezer?.thaw(how),
    disconnect: () => cable.disconnect(),
    reconnect: () => cable.reconnect(),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

function requireUmlKernel(): UmlKernel {
  const found = umlKernel();
  if (found === undefined) throw new Error('no User Mode Linux boots here');
  return found;
}

/** Derives a locally administered Ethernet address from the IP address. */
function cardAddress(address: string): string {
  const bytes = address.split('.').map((byte) => Number(byte).toString(16).padStart(2, '0'));
  return ['02', '55', ...bytes].join(':');
}

async function makeDisk(path: string): Promise<void> {
  await writeFile(path, '');
  await truncate(path, 2 * 1024 ** 3);
  await runOk('mkfs.ext4', ['-q', path]);
}

/** Links the modules below lib/modules of a directory, where modprobe -d finds them. */
async function linkModules(modules: string, outside: string): Promise<void> {
  await mkdir(join(outside, 'lib'));
  await symlink(modules, join(outside, 'lib/modules'));
}
