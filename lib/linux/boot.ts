import { readFileSync } from 'node:fs';
import { uptime } from 'node:os';
import { hasCode } from './error-code.ts';

/**
 * Returns the milliseconds since this machine was booted, time asleep included (CLOCK_BOOTTIME, to
 * 10 ms). All processes of a host read the same value, and a lease runs by this clock.
 */
export function bootNowMs(): number {
  return Math.round(Number.parseFloat(readFileSync('/proc/uptime', 'utf8')) * 1000);
}

/** The step of `uptime` of node:os, which counts whole seconds on most systems. */
const coarseStepMs = 1000;

/**
 * Returns a clock like `bootNowMs` for this machine, and its step. Without /proc (another system than Linux, or a
 * process that may not see it) its step is a second.
 */
export function bootClock(readNowMs = bootNowMs): {
  readonly nowMs: () => number;
  readonly stepMs: number;
} {
  try {
    readNowMs();
    return { nowMs: readNowMs, stepMs: 0 };
  } catch (error) {
    if (!hasCode(error, 'ENOENT', 'EACCES')) throw error;
    return { nowMs: () => uptime() * 1000, stepMs: coarseStepMs };
  }
}

/** Returns the random ID that the kernel gave to this boot. */
export function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}
