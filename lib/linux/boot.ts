import { readFileSync } from 'node:fs';

/**
 * Milliseconds since this machine was booted, time asleep included (CLOCK_BOOTTIME, to 10 ms): the
 * one clock that all processes of a host read the same, and that a lease runs by.
 */
export function bootNowMs(): number {
  return Math.round(Number.parseFloat(readFileSync('/proc/uptime', 'utf8')) * 1000);
}

/** The random name that the kernel gave to this boot. */
export function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}
