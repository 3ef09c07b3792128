import { statfsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface TemporaryDirectory extends AsyncDisposable {
  readonly path: string;
}

export async function makeTemporaryDirectory(parent = tmpdir()): Promise<TemporaryDirectory> {
  const path = await mkdtemp(join(parent, 'berth-test-'));
  return {
    path,
    // Retries, because the kernel takes a moment to release the mounts of a killed process.
    [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true, maxRetries: 10 }),
  };
}

/** Servers of all workers together need about half of this. */
const roomyBytes = 8 * 2 ** 30;

/**
 * Returns a directory in memory for the data of a server, if the machine has room there. A flush
 * costs nothing in memory; on a disk with much other work it takes seconds, and calls to the server
 * exceed their limits.
 */
export function memoryDirectory(): string {
  const memory = '/dev/shm';
  try {
    const { bavail, bsize } = statfsSync(memory);
    return bavail * bsize >= roomyBytes ? memory : tmpdir();
  } catch {
    // There is no such file system.
    return tmpdir();
  }
}
