import { hasCode } from '../../lib/linux/error-code.ts';
import { processStatSync, threadsOfSync } from '../../lib/linux/proc.ts';
import type { ProcessRef, Standing } from '../ports.ts';
import { freezing } from './standing.ts';

/*
 * SIGSTOP and SIGCONT: they stop a whole process where no control group can. The kernel does not say
 * who stopped it.
 */

export function stopBySignal({ pid }: ProcessRef): void {
  send(pid, 'SIGSTOP');
}

/** Ends a stop by signal. Does nothing to a process that is not stopped. */
export function continueProcess({ pid }: ProcessRef): void {
  if (processStatSync(pid)?.state === 'T') send(pid, 'SIGCONT');
}

/** Tells how a process stands that is in no frozen group. */
export async function standingBySignal({ pid }: ProcessRef): Promise<Standing> {
  const states = threadsOfSync(pid).map((thread) => processStatSync(thread)?.state);
  const stopped = states.filter((state) => state === 'T').length;
  if (stopped === 0) return { is: 'running' };
  return stopped === states.length ? { is: 'frozen' } : freezing([pid]);
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if (!hasCode(error, 'ESRCH')) throw error;
  }
}
