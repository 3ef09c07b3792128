import { spawnSync } from 'node:child_process';
import { closeSync, linkSync, openSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileStore } from '../../../lib/lock/stores/file/store.ts';
import type { LocalPlace } from './local-stores.ts';
import type { StoreFixture } from './store-bench.ts';

/** Makes a place for one test's lock directory, which does not exist yet. */
export async function fileDirectory(parent = tmpdir()): Promise<LocalPlace> {
  const root = await mkdtemp(join(parent, 'berth-locks-'));
  return {
    root,
    path: join(root, 'state', 'locks'),
    [Symbol.asyncDispose]: () => rm(root, { recursive: true }),
  };
}

/** Makes a store in memory: the suites write thousands of times, and none is about the disk. */
export async function fileFixture(): Promise<StoreFixture> {
  const place = await fileDirectory('/dev/shm');
  return {
    connect: () => fileStore({ directory: place.path }),
    dispose: () => place[Symbol.asyncDispose](),
    expireSession: async (id) => unlockSession(id),
    isSlow: true,
  };
}

/** Releases the kernel's lock of a session of this process, as the end of a process does. */
export function unlockSession(id: string): void {
  const descriptor = readdirSync('/proc/self/fd').find((name) => pathOf(name)?.endsWith(`/${id}`));
  if (descriptor === undefined) throw new Error(`session ${id} is not open in this process`);
  const stdio = ['ignore', 'ignore', 'inherit', Number(descriptor)] as const;
  const { status } = spawnSync('flock', ['-u', '3'], { stdio: [...stdio] });
  if (status !== 0) throw new Error(`flock ended with ${status}`);
}

/** Takes the turn of a store that was written to, as a process in the middle of a step does. */
export function holdTurn(directory: string): Disposable {
  const [own, now] = [join(directory, 'turn', 'held'), join(directory, 'turn', 'now')];
  const lock = lockFile(own);
  linkSync(own, now);
  rmSync(own);
  return {
    [Symbol.dispose]: () => {
      rmSync(now);
      lock[Symbol.dispose]();
    },
  };
}

/** Locks the mutex, as a process of berth 0.1.0 in the middle of a step does. */
export function holdMutex(directory: string): Disposable {
  return lockFile(join(directory, 'mutex'));
}

function lockFile(path: string): Disposable {
  const descriptor = openSync(path, 'a', 0o600);
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
    // This is the descriptor that the directory was read with.
    return undefined;
  }
}
