import type { ProcessId } from '../../lib/linux/proc.ts';
import { processFileSync, processStatSync, threadsOfSync } from '../../lib/linux/proc.ts';
import { inSlices } from './slices.ts';

/** People need a few names, and a look at each of thousands of processes takes too long. */
const mostNames = 5;
const mostLooks = 300;

/**
 * A frozen process shows as uninterruptibly asleep, too. In these functions of the kernel it is
 * frozen: in the freezer's own, and (since Linux 6.1) in sleeps that a freeze need not end. The list
 * serves messages only: whether all stand still is what the control group reports.
 */
const frozenIn =
  /refrigerator|freezer|^0$|nanosleep|futex|poll|select|sigtimedwait|sigsuspend|unix_stream|vfork|kernel_clone/;

/**
 * Names processes that sleep uninterruptibly, so that they can't freeze yet: at most five, among the
 * first hundreds.
 */
export async function sleepersAmong(pids: readonly number[]): Promise<string[]> {
  const found: string[] = [];
  for await (const pid of inSlices(pids.slice(0, mostLooks))) {
    if (threadsOfSync(pid).some(isAsleep)) found.push(nameOf(pid));
    if (found.length === mostNames) break;
  }
  return found;
}

/**
 * Here a process of control groups v2 is frozen, or waits where the kernel counts it as frozen because it
 * freezes before it returns to its program: stopped, traced, or in vfork(2) for its child, which the
 * kernel shows as `kernel_clone` where it has no function for that (kernel/cgroup/freezer.c: callers of
 * cgroup_enter_frozen).
 */
const inFreezer =
  /^(get_signal|do_freezer_trap|do_signal_stop|ptrace_stop|wait_for_vfork_done|kernel_clone)$/;

/** Returns true if all threads of these processes are seen to be frozen (control groups v2). */
export function areInFreezer(pids: readonly number[]): boolean {
  const threads = pids.flatMap(threadsOfSync);
  return threads.every((thread) =>
    inFreezer.test(processFileSync(thread, 'wchan') ?? 'get_signal'),
  );
}

function isAsleep(thread: ProcessId): boolean {
  if (processStatSync(thread)?.state !== 'D') return false;
  return !frozenIn.test(processFileSync(thread, 'wchan') ?? '0');
}

function nameOf(pid: number): string {
  return `${processFileSync(pid, 'comm')?.trim() ?? 'a process that has ended'} (pid ${pid})`;
}
