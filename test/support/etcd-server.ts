import { readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Certificates } from './certificates.ts';
import { makeCertificates, signCertificate } from './certificates.ts';
import type { Machine } from './machine.ts';
import { thisMachine } from './machine.ts';
import type { FinishedProcess, RunningProcess } from './processes.ts';
import { freePorts, succeeded, waitFor } from './processes.ts';
import { makeTemporaryDirectory, memoryDirectory } from './temporary-directory.ts';
import type { EtcdVersion } from './tools.ts';
import { etcdTools } from './tools.ts';

export interface EtcdOptions {
  readonly version?: EtcdVersion;
  readonly members?: 1 | 3;
  /** The data directory. One given here is kept, so that a later server can use its data. */
  readonly dir?: string;
  /** Keeps the data on the disk of this machine, for measurements, and not in memory. */
  readonly onDisk?: boolean;
  /** Clients need a certificate; `tls` of the result has one. */
  readonly tls?: boolean;
  /** With `tls`: each member has a certificate for its own address only. */
  readonly certificateEach?: boolean;
  /**
   * Where the members run: on a network's switch, on a host, or each on one of several hosts. This
   * machine by default.
   */
  readonly in?: Machine | readonly Machine[];
  /** Further flags of each member, such as --quota-backend-bytes. */
  readonly flags?: readonly string[];
}

export interface Etcd extends AsyncDisposable {
  /** The URL of each member: http(s)://address:port. */
  readonly endpoints: readonly string[];
  /**
   * All endpoints in the form of berth's `--store`: etcd://address:port,address:port or etcds://…
   */
  readonly url: string;
  readonly tls: Certificates | undefined;
  readonly pids: readonly number[];
  /** Where the members keep their data, and their names to each other. */
  readonly places: readonly MemberPlace[];
  /** The token of the cluster, from which its ID follows. */
  readonly token: string;
  /** Freezes a member: its connections stay open and nothing answers. */
  pause(member?: number): void;
  resume(member?: number): void;
  /** Kills a member with SIGKILL, as a crash does. */
  kill(member?: number): Promise<void>;
  /** Starts a member (after stopping it) on the same data and ports, and waits until it serves. */
  restart(member?: number): Promise<void>;
  /** The revision of the key space, which each change raises by one. */
  revision(): Promise<number>;
  /** Runs etcdctl where the first member runs. */
  ctl(...args: string[]): Promise<FinishedProcess>;
  ctlOk(...args: string[]): Promise<string>;
  /** Writes a snapshot of the first member to a file. */
  saveSnapshot(path: string): Promise<void>;
  stop(): Promise<void>;
}

export interface MemberPlace {
  readonly name: string;
  /** The URL for the other members. */
  readonly peer: string;
  readonly dataDir: string;
  readonly machine: Machine;
}

interface Member {
  readonly machine: Machine;
  readonly flags: readonly string[];
  readonly endpoint: string;
  process: RunningProcess;
}

// Short, because a stopping leader tries for seconds to transfer its leadership, even to members
// that are stopping too.
const stopLimitMs = 300;

export async function startEtcd(options: EtcdOptions = {}): Promise<Etcd> {
  const { version = '3.5', members: count = 1, tls: isSecure = false } = options;
  await using stack = new AsyncDisposableStack();
  const parent = options.onDisk === true ? undefined : memoryDirectory();
  const temporary = stack.use(await makeTemporaryDirectory(parent));
  const directory = options.dir ?? temporary.path;
  const { etcd, etcdctl } = etcdTools(version);

  const given = options.in ?? thisMachine;
  const machines = Array.isArray(given) ? (given as readonly Machine[]) : [given as Machine];
  const machineOf = (index: number) => machines[index % machines.length] ?? thisMachine;
  const tls = isSecure
    ? await makeCertificates(temporary.path, [
        '127.0.0.1',
        ...machines.map(({ address }) => address),
      ])
    : undefined;

  async function launch({ machine, flags }: Omit<Member, 'process'>): Promise<RunningProcess> {
    const running = machine.spawn(etcd, flags);
    try {
      await waitFor(
        () => running.hasExited || running.output().includes('"msg":"serving client traffic'),
        15_000,
        'etcd to serve',
      );
      if (running.hasExited) throw new Error('etcd has ended');
    } catch (error) {
      await running.stop();
      throw new Error(`cannot start etcd ${version}:\n${running.output().slice(-2_000)}`, {
        cause: error,
      });
    }
    return running;
  }

  const ports = await freePorts(2 * count);
  const scheme = isSecure ? 'https' : 'http';
  const plans = Array.from({ length: count }, (_, index) => {
    const machine = machineOf(index);
    return {
      name: `m${index}`,
      machine,
      endpoint: `${scheme}://${machine.address}:${ports[2 * index]}`,
      peer: `http://${machine.address}:${ports[2 * index + 1]}`,
    };
  });
  const cluster = plans.map(({ name, peer }) => `${name}=${peer}`).join(',');
  await mkdir(directory, { recursive: true });

  /** The certificate that all members share, or one for this address. */
  async function certificateOf(name: string, address: string): Promise<Certificates> {
    if (tls === undefined) throw new Error('etcd has no certificates');
    if (!options.certificateEach) return tls;
    const at = (file: string) => join(temporary.path, `${name}-${file}`);
    const own = { ...tls, cert: at('cert.pem'), key: at('key.pem') };
    await signCertificate(own, [address]);
    return own;
  }

  const starting = plans.map(async ({ name, machine, endpoint, peer }): Promise<Member> => {
    const own = tls && (await certificateOf(name, machine.address));
    const flags = [
      ...['--name', name, '--data-dir', join(directory, name), '--logger', 'zap'],
      ...['--listen-client-urls', endpoint, '--advertise-client-urls', endpoint],
      ...['--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer],
      ...['--initial-cluster', cluster, '--initial-cluster-token', temporary.path],
      ...(tls === undefined || own === undefined
        ? []
        : ['--cert-file', own.cert, '--key-file', own.key, '--trusted-ca-file', tls.ca]),
      ...(tls === undefined ? [] : ['--client-cert-auth']),
      ...(options.flags ?? []),
    ];
    const process = await launch({ machine, flags, endpoint });
    const member: Member = { machine, flags, endpoint, process };
    stack.defer(() => member.process.stop(stopLimitMs));
    return member;
  });
  // Wait for all, even if one fails: every started member must be on the stack before it unwinds.
  await Promise.allSettled(starting);
  const members = await Promise.all(starting);
  const owned = stack.move();

  function memberAt(index: number): Member {
    const member = members[index];
    if (member === undefined) throw new Error(`etcd has no member ${index}`);
    return member;
  }

  const endpoints = plans.map(({ endpoint }) => endpoint);
  const tlsFlags = [
    ...(tls === undefined ? [] : ['--cacert', tls.ca, '--cert', tls.cert, '--key', tls.key]),
  ];
  const ctlAt = (urls: readonly string[], args: readonly string[]) =>
    machineOf(0).exec(etcdctl, ['--endpoints', urls.join(','), ...tlsFlags, ...args], {
      env: { ETCDCTL_API: '3' },
    });
  const ctl = (...args: string[]) => ctlAt(endpoints, args);
  const ctlOk = async (...args: string[]) => succeeded(['etcdctl', ...args], await ctl(...args));

  async function stop(): Promise<void> {
    await Promise.all(members.map(({ process }) => process.stop(stopLimitMs)));
    await owned.disposeAsync();
  }

  return {
    endpoints,
    token: temporary.path,
    places: plans.map(({ name, peer, machine }) => {
      return { name, peer, machine, dataDir: join(directory, name) };
    }),
    url: `${isSecure ? 'etcds' : 'etcd'}://${endpoints.map((each) => new URL(each).host).join(',')}`,
    tls,
    get pids() {
      return members.map(({ process }) => process.pid);
    },
    pause: (index = 0) => {
      const { process } = memberAt(index);
      process.kill('SIGSTOP');
      waitUntilStopped(process.pid);
    },
    resume: (index = 0) => memberAt(index).process.kill('SIGCONT'),
    kill: async (index = 0) => {
      const { process } = memberAt(index);
      process.kill('SIGKILL');
      await process.finished;
    },
    restart: async (index = 0) => {
      const member = memberAt(index);
      await member.process.stop(stopLimitMs);
      member.process = await launch(member);
    },
    revision: async () => {
      const answer = JSON.parse(await ctlOk('get', 'any', '--write-out', 'json'));
      return Number(answer.header.revision);
    },
    ctl,
    ctlOk,
    saveSnapshot: async (path) => {
      const args = ['snapshot', 'save', path];
      succeeded(['etcdctl', ...args], await ctlAt(endpoints.slice(0, 1), args));
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

/**
 * The kernel stops a process when one of its threads takes the signal; on a busy machine the others
 * answer requests until then.
 */
function waitUntilStopped(pid: number): void {
  const deadline = performance.now() + 10_000;
  const isStopped = () => /\) [TtZ] [^)]*$/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  while (!isStopped()) {
    if (performance.now() > deadline) throw new Error(`process ${pid} does not stop`);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
  }
}
