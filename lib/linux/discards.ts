import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { hasCode } from './error-code.ts';

/*
 * A file system that is mounted with `discard` gives the blocks of deleted files back after the commit
 * that frees them, in the background (ext4 since Linux 5.15, xfs): also while it is frozen. On storage that
 * hosts share such a discard destroys what the next host has written to the same blocks.
 */

const pauseMs = 20;

/**
 * Waits until a block device has had no request in flight and no discard for `quietMs`: pauses between two
 * discards of one commit were measured up to 65 ms on a busy machine. Resolves to false if that takes
 * longer than `limitMs`. `device` is its numbers, `7:0`, or its path, `/dev/loop0`. A device without
 * statistics has no discards.
 */
export async function discardsEnded(
  device: string,
  { quietMs, limitMs = Number.POSITIVE_INFINITY }: { quietMs: number; limitMs?: number },
): Promise<boolean> {
  const endMs = performance.now() + limitMs;
  let before = await countsOf(device);
  let quietSinceMs = performance.now();
  while (before !== undefined) {
    if (performance.now() - quietSinceMs >= quietMs) return true;
    if (performance.now() > endMs) return false;
    await sleep(pauseMs);
    const now = await countsOf(device);
    if (now === undefined) return true;
    const isQuiet = now.inFlight === 0 && now.discards === before.discards;
    if (!isQuiet) quietSinceMs = performance.now();
    before = now;
  }
  return true;
}

/** Reads the statistics of a block device (Documentation/block/stat.rst of the kernel). */
async function countsOf(
  device: string,
): Promise<{ inFlight: number; discards: number } | undefined> {
  try {
    const directory = device.startsWith('/') ? `block/${basename(device)}` : `dev/block/${device}`;
    const text = await readFile(`/sys/${directory}/stat`, 'utf8');
    const fields = text.trim().split(/\s+/).map(Number);
    return { inFlight: fields[8] ?? 0, discards: fields[11] ?? 0 };
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENODEV')) return undefined;
    throw error;
  }
}
