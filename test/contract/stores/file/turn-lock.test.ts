// The turn to change the state of a lock directory: two users of the lock in one process; real files.
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { expect, test } from '@jest/globals';
import { openLockDirectory } from '../../../../lib/lock/stores/file/directory.ts';
import { TurnLock } from '../../../../lib/lock/stores/file/turn-lock.ts';
import { describeWith } from '../../../support/requirements.ts';
import { fileDirectory } from '../../bench/file-directory.ts';
import { eventually } from '../../bench/store-bench.ts';

/** Throws if another has locked the file. */
function lockForAMoment(path: string): void {
  const database = new DatabaseSync(path);
  try {
    database.exec('BEGIN IMMEDIATE');
  } finally {
    database.close();
  }
}

describeWith(['flock'], 'the turn in a lock directory', () => {
  test('goes to who waits before it goes again to who had it', async () => {
    await using place = await fileDirectory();
    const paths = openLockDirectory(place.path);
    using first = new TurnLock(paths);
    using second = new TurnLock(paths);
    const order: string[] = [];
    const turn = await first.take();
    const waiting = second.take().then((taken) => {
      order.push('second');
      taken[Symbol.dispose]();
    });
    const next = join(place.path, 'next');
    await eventually(() => expect(() => lockForAMoment(next)).toThrow('locked'));
    turn[Symbol.dispose]();
    const again = first.take().then((taken) => {
      order.push('first');
      taken[Symbol.dispose]();
    });
    await Promise.all([waiting, again]);
    expect(order).toEqual(['second', 'first']);
  });

  test('is free after its user was disposed of', async () => {
    await using place = await fileDirectory();
    const paths = openLockDirectory(place.path);
    const first = new TurnLock(paths);
    await first.take();
    first[Symbol.dispose]();
    using second = new TurnLock(paths);
    (await second.take())[Symbol.dispose]();
  });
});
