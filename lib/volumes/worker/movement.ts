import { AsyncLocalStorage } from 'node:async_hooks';
import type { ChildProcess } from 'node:child_process';
import { subscribe } from 'node:diagnostics_channel';
import { shortProcessFileSync } from '../../linux/proc.ts';

/** Tells which calls move: whether the programs that a call runs use the processor or move bytes. */
export interface Movement {
  /** Runs the work of a call; its programs are known as those of this call. */
  during<T>(call: number, work: () => Promise<T>): Promise<T>;
  /** Lists the calls whose programs have begun, worked or ended since the last look. */
  moved(): number[];
}

interface Programs {
  readonly running: Set<ChildProcess>;
  /** The number of those that have begun or ended. */
  changes: number;
  /** The kernel's counts at the last look. */
  counted: string;
}

export function programMovement(): Movement {
  const current = new AsyncLocalStorage<Programs>();
  const calls = new Map<number, Programs>();
  // Node publishes each child process here, in the asynchronous context that starts it.
  subscribe('child_process', (message) => {
    const programs = current.getStore();
    if (programs) follow(programs, childIn(message));
  });

  return {
    during: async (call, work) => {
      const programs: Programs = { running: new Set(), changes: 0, counted: '0' };
      calls.set(call, programs);
      try {
        return await current.run(programs, work);
      } finally {
        calls.delete(call);
      }
    },

    moved: () =>
      [...calls].flatMap(([call, programs]) => {
        const before = programs.counted;
        programs.counted = [programs.changes, ...[...programs.running].map(countedOf)].join(' ');
        return programs.counted === before ? [] : [call];
      }),
  };
}

function follow(programs: Programs, child: ChildProcess | undefined): void {
  if (child === undefined) return;
  programs.changes += 1;
  programs.running.add(child);
  child.once('exit', () => {
    programs.changes += 1;
    programs.running.delete(child);
  });
}

function childIn(message: unknown): ChildProcess | undefined {
  const isChild = typeof message === 'object' && message !== null && 'process' in message;
  return isChild ? (message.process as ChildProcess) : undefined;
}

/** Returns what the kernel counts of a program: its processor time, and the bytes that it moved. */
function countedOf({ pid }: ChildProcess): string {
  if (pid === undefined) return '';
  const time = shortProcessFileSync(pid, 'schedstat')?.split(' ')[0];
  return `${time} ${shortProcessFileSync(pid, 'io')}`;
}
