import type { ChildProcess } from 'node:child_process';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

/** The hosts of one process of the bench. */
export interface HostsPlan {
  readonly store: string;
  /** The state directories are made in it. */
  readonly directory: string;
  readonly hosts: readonly string[];
  /** Watches that do nothing with the events, instead of hosts. */
  readonly isBare: boolean;
}

export interface HostsReport {
  /** The hosts whose mirror is live and whose session is renewed. */
  readonly live: number;
  /** The processor time of the process so far. */
  readonly cpuMs: number;
  /** The events of all mirrors so far. */
  readonly events: number;
  /** The number of volumes that each host knows, when that was asked for. */
  readonly volumes?: readonly number[];
}

/** Processes that share a number of hosts between them. */
export class HostsProcesses implements AsyncDisposable {
  readonly count: number;
  readonly #children: readonly Child[];

  private constructor(count: number, children: readonly Child[]) {
    this.count = count;
    this.#children = children;
  }

  /** Starts them; resolves when each host has a session and each watch is open. */
  static async start(
    plan: Omit<HostsPlan, 'hosts'>,
    count: number,
    perProcess: number,
  ): Promise<HostsProcesses> {
    const kind = plan.isBare ? 'bare' : 'host';
    const names = Array.from({ length: count }, (_, index) => `${kind}-${index}`);
    const parts = Array.from({ length: Math.ceil(count / perProcess) }, (_, part) =>
      names.slice(part * perProcess, (part + 1) * perProcess),
    );
    const children = parts.map((hosts) => start({ ...plan, hosts }));
    await Promise.all(
      children.map(({ process, ended }) => Promise.race([once(process, 'message'), ended])),
    );
    return new HostsProcesses(count, children);
  }

  async report(question: 'state' | 'volumes' = 'state'): Promise<HostsReport> {
    const reports = await Promise.all(
      this.#children.map(async ({ process, ended }) => {
        const answer = once(process, 'message');
        process.send(question);
        const [report] = await Promise.race([answer, ended]);
        return report as HostsReport;
      }),
    );
    const sum = (of: (report: HostsReport) => number) =>
      reports.reduce((total, report) => total + of(report), 0);
    return {
      live: sum(({ live }) => live),
      cpuMs: sum(({ cpuMs }) => cpuMs),
      events: sum(({ events }) => events),
      ...(question === 'volumes' && { volumes: reports.flatMap(({ volumes = [] }) => volumes) }),
    };
  }

  /** Freezes all hosts until `resume`, as if they were cut off. */
  pause(): void {
    for (const { process } of this.#children) process.kill('SIGSTOP');
  }

  resume(): void {
    for (const { process } of this.#children) process.kill('SIGCONT');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { process } of this.#children) process.kill('SIGKILL');
    await Promise.allSettled(this.#children.map(({ ended }) => ended));
  }
}

interface Child {
  readonly process: ChildProcess;
  /** Rejects when it has ended. */
  readonly ended: Promise<never>;
}

function start(plan: HostsPlan): Child {
  const path = join(import.meta.dirname, 'hosts-process.ts');
  // The option is the one of every start of berth.
  const process = fork(path, [JSON.stringify(plan)], { execArgv: ['--optimize-for-size'] });
  const ended = once(process, 'exit').then(() => {
    throw new Error('a process of the bench has ended');
  });
  ended.catch(() => {
    // Whoever waits for an answer handles it.
  });
  return { process, ended };
}
