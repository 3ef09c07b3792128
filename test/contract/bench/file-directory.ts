import { spawnSync } from 'node:child_process';
import { closeSync, openSync, readdirSync, readlinkSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileStore } from '../../../lib/lock/stores/file/store.ts';
import type { LocalPlace } from './local-stores.ts';
import type { StoreFixture } from './store-bench.ts';

/** A place for the lock directory of one test; it does not exist yet. */
export async function fileDirectory(parent = tmpdir()): Promise<LocalPlace> {
  const root = await mkdtemp(join(parent, 'berth-locks-'));
  return {
    root,
    path: join(root, 'state', 'locks'),
    [Symbol.asyncDispose]: () => rm(root, { recursive: true }),
  };
}

/** In memory: the suites write thousands of times, and nothing of them is about the disk. */
export async function fileFixture(): Promise<StoreFixture> {
  const place = await fileDirectory('/dev/shm');
  return {
    connect: () => fileStore({ directory: place.path }),
    dispose: () => place[Symbol.asyncDispose](),
    expireSession: async (id) => unlockSession(id),
    isSlow: true,
  };
}

/** Takes the kernel's lock from a session of this process, as the kernel does when a process ends. */
export function unlockSession(id: string): void {
  const descriptor = readdirSync('/proc/self/fd').find((name) => pathOf(name)?.endsWith(`/${id}`));
  if (descriptor === undefined) throw new Error(`session ${id} is not open in this process`);
  const stdio = ['ignore', 'ignore', 'inherit', Number(descriptor)] as const;
  const { status } = spawnSync('flock', ['-u', '3'], { stdio: [...stdio] });
  if (status !== 0) throw new Error(`flock ended with ${status}`);
}

/** How the tests play a process that stands in the middle of a step. */
export function holdMutex(directory: string): Disposable {
  const descriptor = openSync(join(directory, 'mutex'), 'a');
  const { status } = spawnSync('flock', ['-x', '3'], {
    stdio: ['ignore', 'ignore', 'inherit', descriptor],
  });
  if (status !== 0) throw new Error(`flock ended with ${status}`);
  return { [Symbol.dispose]: () => closeSync(descriptor) };
}

function pathOf(descriptor: string): string | undefined {
  try {
    return readlinkSync(`/proc/self/fd/${descriptor}`);
  } catch {
    // The one that the directory was read with.
    return undefined;
  }
}
