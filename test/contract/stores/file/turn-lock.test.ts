// The turn to change the state of a lock directory: several users of the lock in one process; real files and `flock`.
import { spawnSync } from 'node:child_process';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { Dirent } from 'node:fs';
import {
  closeSync,
  cpSync,
  existsSync,
  linkSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { StoreUnavailableError } from '../../../../lib/lock/errors.ts';
import { openLockDirectory } from '../../../../lib/lock/stores/file/directory.ts';
import { StateFile } from '../../../../lib/lock/stores/file/state-file.ts';
import { Steps } from '../../../../lib/lock/stores/file/steps.ts';
import type { Turn } from '../../../../lib/lock/stores/file/turn-lock.ts';
import { TurnLock } from '../../../../lib/lock/stores/file/turn-lock.ts';
import { describeWith } from '../../../support/requirements.ts';
import { fileDirectory } from '../../bench/file-directory.ts';
import { eventually } from '../../bench/store-bench.ts';

describeWith(['flock'], 'the turn in a lock directory', () => {
  test('goes to who waits before it goes again to who had it', async () => {
    await using place = await turnDirectory();
    using first = new TurnLock(place.turn);
    using second = new TurnLock(place.turn);
    const order: string[] = [];
    const note = (name: string) => (turn: Turn) => {
      order.push(name);
      turn[Symbol.dispose]();
    };
    for (let round = 0; round < 10; round += 1) {
      const turn = await first.take();
      const waiting = second.take().then(note('second'));
      await eventually(() => expect(existsSync(place.turn.next)).toBe(true));
      turn[Symbol.dispose]();
      await Promise.all([waiting, first.take().then(note('first'))]);
    }
    expect(order).toEqual(Array.from({ length: 10 }, () => ['second', 'first']).flat());
  });

  test('is had by one at a time', async () => {
    await using place = await turnDirectory();
    const locks = Array.from({ length: 8 }, () => new TurnLock(place.turn));
    await expectOneAtATime(locks, 20);
    expect(readdirSync(place.turn.folder)).toHaveLength(8);
    for (const lock of locks) lock[Symbol.dispose]();
    expect(readdirSync(place.turn.folder)).toEqual([]);
  });

  test('of a process that has died is had by one of those that find it', async () => {
    await using place = await turnDirectory();
    const locks = Array.from({ length: 8 }, () => new TurnLock(place.turn));
    await expectOneAtATime(locks, 1);
    for (let round = 0; round < 10; round += 1) {
      writeFileSync(place.turn.now, ''); // As of a dead process: nobody has locked it.
      await expectOneAtATime(locks, 2);
    }
    for (const lock of locks) lock[Symbol.dispose]();
  });

  test('of a dead process stands while another one looks at its lock', async () => {
    await using place = await turnDirectory();
    const { now } = place.turn;
    using lock = new TurnLock(place.turn);
    (await lock.take())[Symbol.dispose]();
    const looking = openSync(now, 'a');
    setLock(looking, '-s');
    let looks = 0;
    const count = () => {
      looks += 1;
    };
    subscribe('child_process', count);
    try {
      const taken = lock.take();
      // The first two have ended when the third begins.
      await eventually(() => expect(looks).toBeGreaterThanOrEqual(3));
      expect(existsSync(now)).toBe(true);
      closeSync(looking);
      (await taken)[Symbol.dispose]();
    } finally {
      unsubscribe('child_process', count);
    }
  });

  test('stays with its owner whatever files other code of the process opens and closes', async () => {
    await using place = await turnDirectory();
    using lock = new TurnLock(place.turn);
    using other = new TurnLock(place.turn);
    (await other.take())[Symbol.dispose]();
    const turn = await lock.take();
    const taken = other.take();
    let isTaken = false;
    const done = taken.then(() => {
      isTaken = true;
    });
    cpSync(place.path, `${place.path}.copy`, { recursive: true });
    for (const file of filesIn(place.turn.folder)) readFileSync(file);
    const inode = statSync(place.turn.now).ino;
    // The kernel still has the lock of the turn's file.
    expect(spawnSync('flock', ['-x', '-n', place.turn.now, 'true']).status).toBe(1);
    turn.confirm();
    expect({ isTaken, inode: statSync(place.turn.now).ino }).toEqual({ isTaken: false, inode });
    turn[Symbol.dispose]();
    await done;
    (await taken)[Symbol.dispose]();
    // What was copied in the middle of a turn is nobody's turn.
    using copied = new TurnLock(openLockDirectory(`${place.path}.copy`).turn);
    (await copied.take())[Symbol.dispose]();
    expect(filesIn(join(`${place.path}.copy`, 'turn'))).toHaveLength(1);
  });

  test('does not depend on who waits for it: that process may be stopped', async () => {
    await using place = await turnDirectory();
    using lock = new TurnLock(place.turn);
    using stopped = new TurnLock(place.turn);
    (await stopped.take())[Symbol.dispose]();
    linkSync(filesIn(place.turn.folder)[0] ?? '', place.turn.next);
    (await lock.take())[Symbol.dispose]();
    expect(existsSync(place.turn.next)).toBe(false);
  });

  test('is missed before a write if somebody removed its name or closed its file', async () => {
    await using place = await turnDirectory();
    using lock = new TurnLock(place.turn);
    const spoil = {
      name: () => rmSync(place.turn.now),
      'name, given to another file': () => {
        rmSync(place.turn.now);
        writeFileSync(place.turn.now, '');
      },
      descriptor: () => closeSync(descriptorOf(place.turn.folder)),
      'lock of the file': () => setLock(descriptorOf(place.turn.folder), '-u'),
    };
    for (const [what, spoilIt] of Object.entries(spoil)) {
      using turn = await lock.take();
      turn.confirm();
      spoilIt();
      expect({ what, confirm: thrownBy(() => turn.confirm()) }).toMatchObject({
        confirm: { message: expect.stringMatching(/nothing was written: .*turn\/now/) },
      });
      expect(thrownBy(() => turn.confirm())).toBeInstanceOf(StoreUnavailableError);
    }
    using turn = await lock.take();
    turn.confirm();
  });

  test('is missed by a step, which then writes nothing', async () => {
    await using place = await turnDirectory();
    using lock = new TurnLock(place.turn);
    using file = new StateFile(join(place.path, 'state.json'));
    const steps = new Steps({ file, lock, prepare: async () => {} });
    const step = (work: () => void) => steps.take(work, { mustWrite: true });
    await expect(step(() => rmSync(place.turn.now))).rejects.toThrow(/nothing was written/);
    expect(existsSync(join(place.path, 'state.json'))).toBe(false);
    await step(() => {});
    expect(existsSync(join(place.path, 'state.json'))).toBe(true);
  });

  test('is free for others although its name could not be removed', async () => {
    await using place = await turnDirectory();
    using lock = new TurnLock(place.turn);
    const turn = await lock.take();
    const { folder } = place.turn;
    renameSync(folder, `${folder}.away`);
    symlinkSync(folder, folder);
    turn[Symbol.dispose]();
    rmSync(folder);
    renameSync(`${folder}.away`, folder);
    expect(existsSync(place.turn.now)).toBe(true);
    using other = new TurnLock(place.turn);
    (await other.take())[Symbol.dispose]();
    (await lock.take())[Symbol.dispose]();
    expect(filesIn(folder)).toHaveLength(2);
  });

  test('is taken with a new file when the own one was removed', async () => {
    await using place = await turnDirectory();
    using lock = new TurnLock(place.turn);
    (await lock.take())[Symbol.dispose]();
    for (const file of filesIn(place.turn.folder)) rmSync(file);
    (await lock.take())[Symbol.dispose]();
    rmSync(place.turn.folder, { recursive: true });
    (await lock.take())[Symbol.dispose]();
    rmSync(place.path, { recursive: true });
    await expect(lock.take()).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test('is free after its user was disposed of, whose file and those of the dead are removed', async () => {
    await using place = await turnDirectory();
    const first = new TurnLock(place.turn);
    await first.take();
    const dead = join(place.turn.folder, '00000000-0000-4000-8000-000000000000');
    writeFileSync(dead, '');
    first[Symbol.dispose]();
    using second = new TurnLock(place.turn);
    (await second.take())[Symbol.dispose]();
    expect(filesIn(place.turn.folder)).toHaveLength(1);
    expect(existsSync(dead)).toBe(false);
  });
});

/** Lets each lock take several turns while the others want it; fails if two have it, or one is never served. */
async function expectOneAtATime(locks: readonly TurnLock[], times: number): Promise<void> {
  let having = 0;
  const overlaps: number[] = [];
  const takeTurns = async (lock: TurnLock) => {
    for (let count = 0; count < times; count += 1) {
      using turn = await lock.take();
      having += 1;
      // Others get as far as they can.
      await new Promise(setImmediate);
      if (having > 1) overlaps.push(having);
      turn.confirm();
      having -= 1;
    }
  };
  await Promise.all(locks.map(takeTurns));
  expect(overlaps).toEqual([]);
}

async function turnDirectory() {
  const place = await fileDirectory('/dev/shm');
  return { ...place, turn: openLockDirectory(place.path).turn };
}

function filesIn(folder: string): string[] {
  const isFile = (entry: Dirent) => entry.isFile();
  return readdirSync(folder, { withFileTypes: true })
    .filter(isFile)
    .map(({ name }) => join(folder, name));
}

function descriptorOf(folder: string): number {
  const found = readdirSync('/proc/self/fd').find((name) => targetOf(name).startsWith(folder));
  if (found === undefined) throw new Error(`this process has no file open in ${folder}`);
  return Number(found);
}

function targetOf(descriptor: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${descriptor}`);
  } catch {
    // It was closed meanwhile, as the one that the folder was read with.
    return '';
  }
}

/** Locks or unlocks an open file. */
function setLock(descriptor: number, mode: '-s' | '-u'): void {
  const { status } = spawnSync('flock', [mode, '3'], {
    stdio: ['ignore', 'ignore', 'inherit', descriptor],
  });
  if (status !== 0) throw new Error(`flock ended with ${status}`);
}

function thrownBy(work: () => void): unknown {
  try {
    work();
  } catch (error) {
    return error;
  }
  return undefined;
}
