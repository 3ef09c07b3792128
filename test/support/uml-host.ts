import { mkdir, symlink, truncate, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { BerthHost } from './berth.ts';
import type { Network } from './network.ts';
import type { FinishedProcess, RunningProcess, StartOptions } from './processes.ts';
import { runOk, succeeded, waitFor } from './processes.ts';
import { makeTemporaryDirectory } from './temporary-directory.ts';
import type { UmlKernel } from './tools.ts';
import { busyboxArchive, dockerTools, umlKernel } from './tools.ts';

export interface UmlHostOptions {
  readonly network: Network;
  /** The host name. */
  readonly name: string;
  /** Directories of this machine that the guest shares at the same paths, like a file server's. */
  readonly shared?: readonly string[];
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
  /** Ends the guest at once, with its kernel. */
  cutPower(): Promise<void>;
  /** Boots the guest again after a power cut. Its disk has what its kernel had written. */
  boot(): Promise<void>;
}

const agentPort = 1;
const enginePort = 2375;

export async function startUmlHost(options: UmlHostOptions): Promise<UmlHost> {
  const { network, name, shared = [] } = options;
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
    const booting = network.spawn('unshare', [...separate, ...kernel]);
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
    execOk: async (command, ...args) => succeeded([command, ...args], await exec(command, args)),
    startEngine,
    spawnDocker,
    docker,
    dockerOk,
    cutPower,
    boot,
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

interface Guest {
  readonly name: string;
  readonly address: string;
  readonly directory: string;
  readonly outside: string;
  readonly shared: readonly string[];
}

function initScript({ name, address, directory, outside, shared }: Guest): string {
  const root = '/mnt/root';
  const node = dirname(process.execPath);
  const agent = join(import.meta.dirname, 'guest-agent.mjs');
  return `#!/bin/sh
set -e
export PATH=${node}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
# Linux 7.2 as a process maps the rings of io_uring wrongly, which corrupts the memory of each Node.
[ ! -e /proc/sys/kernel/io_uring_disabled ] || echo 2 > /proc/sys/kernel/io_uring_disabled
modprobe -d ${outside} -a overlay loop
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work ${root}
mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work overlay ${root}
for each in proc sys dev; do mount --rbind /$each ${root}/$each; done
mount -t tmpfs -o mode=755 tmpfs ${root}/run
mkdir -p ${root}/run/docker/plugins ${root}/run/lock ${root}/dev/shm
mount -t tmpfs tmpfs ${root}/dev/shm
mount -t cgroup2 cgroup ${root}/sys/fs/cgroup
mount -t ext4 /dev/ubda ${root}${directory}
${shared.map((path) => `mount -t hostfs none ${root}${path} -o ${path}`).join('\n')}
hostname ${name}
ip link set lo up
ip addr add ${address}/24 dev vec0
ip link set vec0 up
cd ${root}
mkdir run/before
pivot_root . run/before
umount -l run/before
mount --make-rshared /
exec node ${agent} ${agentPort}
`;
}
