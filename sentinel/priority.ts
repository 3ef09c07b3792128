import { readdirSync, writeFileSync } from 'node:fs';
import { setPriority } from 'node:os';
import createDebug from 'debug';
import { run } from '../lib/linux/run.ts';
import { messageOf } from '../lib/running/message-of.ts';

const log = createDebug('berth:sentinel');

/** The highest of the ordinary priorities. */
const leastNice = -20;
/** Kills the sentinel after all but the most important processes. */
const oomScore = -900;
const chrtLimitMs = 5_000;

export interface PriorityOptions {
  /**
   * True: also ask for real-time scheduling, with `chrt` of util-linux. False where systemd started
   * the sentinel: its unit says how it is scheduled.
   */
  readonly realTime: boolean;
}

/** Which parts of the wish the kernel granted. */
export interface RaisedPriority {
  readonly memory: boolean;
  readonly nice: boolean;
  readonly realTime: boolean;
}

/**
 * Asks the kernel to run this process before all others, and to kill it last when memory is short: a
 * host that is overloaded must still stop its containers in time. Call it first: threads and programs
 * that start later have the same priority. What is refused (rights of root, CAP_SYS_NICE and
 * CAP_SYS_RESOURCE) is logged, and the sentinel works without it. Never rejects.
 */
export async function raisePriority({ realTime }: PriorityOptions): Promise<RaisedPriority> {
  const memory = await isGranted('it may be killed when memory is short', () =>
    writeFileSync('/proc/self/oom_score_adj', String(oomScore)),
  );
  const nice = await isGranted('a busy host may delay it', () => {
    // Each thread has a priority of its own, and Node has started some already.
    for (const thread of readdirSync('/proc/self/task')) setPriority(Number(thread), leastNice);
  });
  const isRealTime =
    realTime &&
    (await isGranted('a host that is very busy may delay it', async () => {
      const policy = ['--rr', '--all-tasks', '--pid', '1', String(process.pid)];
      await run('chrt', policy, { timeoutMs: chrtLimitMs });
    }));
  return { memory, nice, realTime: isRealTime };
}

async function isGranted(lost: string, ask: () => void | Promise<void>): Promise<boolean> {
  try {
    await ask();
    return true;
  } catch (error) {
    log('the kernel grants less than was asked for, so %s: %s', lost, messageOf(error));
    return false;
  }
}
