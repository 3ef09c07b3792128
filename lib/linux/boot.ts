import { readFileSync } from 'node:fs';

/**
 * Returns the milliseconds since this machine was booted, time asleep included (CLOCK_BOOTTIME, to
 * 10 ms). All processes of a host read the same value, and a lease runs by this clock.
 */
export function bootNowMs(): number {
  return Math.round(Number.parseFloat(readFileSync('/proc/uptime', 'utf8')) * 1000);
}

/** Returns the random ID that the kernel gave to this boot. */
export function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}
