import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import type { ControlGroup } from './control-group.ts';
import { groupsIn, processesOf, setFrozen } from './control-group.ts';
import { hasCode } from './error-code.ts';
import type { ProcessId } from './proc.ts';
import { processFileSync, processStatSync } from './proc.ts';

/** The processor is given up now and then: thousands of processes take a second to kill. */
const sliceMs = 25;

const sigKillBit = 1n << 8n;

/** Each look costs some 10 µs. A container's first process, which engines kill, is an old one. */
const mostLooks = 1_000;

/** Kills all processes of the group, frozen or not. It may take a moment until they have ended. */
export async function killGroup(group: ControlGroup): Promise<void> {
  const killFile = join(group.path, 'cgroup.kill');
  if (group.version === 2 && existsSync(killFile)) {
    try {
      writeFileSync(killFile, '1', { flag: 'r+' });
    } catch (error) {
      if (!hasCode(error, 'ENOENT', 'ENODEV')) throw error;
    }
    return;
  }
  await killEach(group);
}

/** Kills the processes one by one: frozen meanwhile, because they could fork faster than that. */
async function killEach(group: ControlGroup): Promise<void> {
  setFrozen(group, true);
  const killed = new Set<number>();
  for (;;) {
    // Read again after each pause: an ID may by then belong to a process that is not of the group.
    const next = processesOf(group).filter((pid) => !killed.has(pid));
    if (next.length === 0) break;
    const sliceEnd = performance.now() + sliceMs;
    for (const pid of next) {
      killProcess(pid);
      killed.add(pid);
      if (performance.now() >= sliceEnd) break;
    }
    await setImmediate();
  }
  // In version 1 a frozen process does not die. After SIGKILL a thawed process does nothing more.
  for (const each of [...groupsIn(group), group]) setFrozen(each, false);
}

/** Sends SIGKILL. Ignores a process that has ended. */
export function killProcess(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (!hasCode(error, 'ESRCH')) throw error;
  }
}

/**
 * Returns true if SIGKILL is pending for a process of the group: a frozen one can't die yet. Looks at
 * the first thousand processes.
 */
export function isBeingKilled(group: ControlGroup): boolean {
  const oldest = processesOf(group).toSorted((a, b) => a - b);
  return oldest.slice(0, mostLooks).some((pid) => isProcessBeingKilled(pid));
}

/**
 * Returns true if SIGKILL is pending for each process of the group, or none is left. False if there are
 * too many to look at.
 */
export function isDying(group: ControlGroup): boolean {
  const pids = processesOf(group);
  return (
    pids.length <= mostLooks && pids.every((pid) => hasEnded(pid) || isProcessBeingKilled(pid))
  );
}

function hasEnded(pid: number): boolean {
  return 'ZX'.includes(processStatSync(pid)?.state ?? 'X');
}

/** Returns true if SIGKILL is pending. A thread is asked itself: others may have died of it already. */
export function isProcessBeingKilled(id: ProcessId): boolean {
  const status = processFileSync(id, 'status') ?? '';
  for (const [, pending = '0'] of status.matchAll(/^(?:SigPnd|ShdPnd):\s*([0-9a-f]+)$/gm)) {
    if ((BigInt(`0x${pending}`) & sigKillBit) !== 0n) return true;
  }
  return false;
}
