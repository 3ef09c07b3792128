import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import process from 'node:process';
import { expect, test } from '@jest/globals';

/**
 * The situations that the test suites of other lock managers hold, and their known bugs. A test
 * that puts one to the proof has its number in its name.
 */
const scenarios: readonly string[] = [
  'lock, unlock, and another locks; the unlock ends the signal',
  'a try while somebody holds is refused, which is no error, and leaves nothing',
  'different names do not conflict',
  'a waiter can be cancelled; the holder does not notice',
  'several at once get the lock, one after another',
  'locking again after an unlock',
  'a holder that never looks at its signal blocks nobody',
  'many tasks under one lock never overlap',
  'the same between connections',
  'two waiters on two connections are cancelled',
  'two tries on two connections are refused while a third holds',
  'unlock of what was never locked',
  'many cycles leave nothing behind',
  'a lock object that is used twice',
  'a holder that expired: another gets the lock, the late unlock does not touch it',
  'the wait ends at its limit; nothing is held then',
  'a cancelled request holds nothing then',
  'of several that contend exactly one wins',
  'renewal keeps a lock for much longer than its TTL',
  'the store is prepared by whoever comes first',
  'disabling and enabling are idempotent',
  'enabled becomes disabled',
  'one host disables, all are refused; another enables',
  'the same job locked again by its owner',
  'a job unlocked again and again',
  'locking what is disabled is refused, and told apart',
  'two components: the second is refused, with both named, until roles turn',
  'a lock is taken from its holder only after the longest hold',
  'the lock that is none grants everything',
  'the lock within a process: a second try is refused, unlock is idempotent',
  'any capacity of a pool is kept exactly',
  'a pool of none is refused',
  'freeing what is not allocated is an error',
  'unlocking what is not locked',
  'unlocking twice',
  'allocate, lock, unlock, free, over and over',
  'two allocations differ',
  'the whole pool can be allocated, each number once',
  'one more than there are is refused',
  'a number that was freed is the next to be allocated',
  'after freeing all, numbers start anew',
  'the second waits as long as the first holds',
  'two locks are released in either order',
  'a pool in a file: allocate, claim, free, free all, claim',
  'the operating system shows who holds a lock of the file store',
  'no time-out means no time-out',
  'a try that failed, then a wait',
  'what is released is forgotten',
  'a normal release is not told as a loss',
  'many conflicting writers do not hang each other',
  'who waits is told so, with the names of the locks',
  'a wait with a limit',
  'a scope that unlocks at its end',
  'a try, and a release only if it was granted',
  'unlock after a loss returns at once, and the loss was told',
  'the mode after an expired shared lock was taken over',
  'the holder is told at its deadline though the store says nothing',
  'a wait that ends at its limit never leaves a held lock',
  'clocks an hour apart change nothing',
  'work runs only under the lock; all who contend meanwhile fail',
  'both locks of a pair exclude those who want only one',
  'a waiter whose session ends does not get the lock',
  'unlocking twice, or after a loss',
  'waiters on one and on three connections, never two at once',
  'the middle waiter dies: the third still waits for the holder',
  'readers and writers on one and on several connections',
  'a repeated unlock whose first answer was lost does not touch the next holder',
  'a waiter is told at once that its own session has died',
  'a reader or writer whose lease expired is not granted',
  'a duration that is not a whole number is refused',
  'sets of locks that overlap exclude each other',
  'a store that can not be reached is told as that',
  'a lock ends by itself',
  'work under a lock is told when the lock can not be renewed',
  'if one of several locks can not be had, none is taken',
  'whatever fails while several are released, the others are released',
  'a session, or the server, dies while somebody waits',
  'shared does not become exclusive while it is held',
  'the holder is asked to let go',
  'holders and waiters are listed in order',
  'nothing is left in the store, whatever goes wrong',
  'tokens grow',
  'an operator takes a lock away',
  'nothing of an interrupted try lives on',
  'a reader that died does not stand in the way',
];

/** Those that no test can put to the proof, and why. */
const unproven: Readonly<Record<string, string>> = {
  S12: 'can not be written: a Lock exists only from its grant on',
  S14: 'can not be written: lock() makes a new Lock each time; a second unlock is a success (S63)',
  S79: 'not offered: a holder is told by its signal that its lock was taken away (S83)',
};

const root = join(import.meta.dirname, '..');

/** Scenario to the files that test it. */
function coverage(): Map<string, Set<string>> {
  const found = new Map<string, Set<string>>();
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' });
  for (const file of files.filter((name) => name.endsWith('.ts'))) {
    const text = readFileSync(join(root, file), 'utf8');
    for (const [, name = ''] of text.matchAll(
      /\btest(?:\.each\([\s\S]*?\))?\(\s*['"`](S[^'"`]*)/g,
    )) {
      for (const [id] of name.matchAll(/\bS\d+\b/g)) {
        found.set(id, (found.get(id) ?? new Set()).add(basename(file, '.ts')));
      }
    }
  }
  return found;
}

test('every scenario has a test, or a reason why not', () => {
  const tested = coverage();
  const lines = scenarios.map((text, index) => {
    const id = `S${index + 1}`;
    const where = [...(tested.get(id) ?? [])].join(', ') || unproven[id] || 'MISSING';
    return `${id.padEnd(4)} ${text}\n       ${where}`;
  });
  process.stdout.write(`Scenarios of locks:\n${lines.join('\n')}\n`);
  const ids = scenarios.map((_, index) => `S${index + 1}`);
  expect(ids).toHaveLength(85);
  expect(ids.filter((id) => !tested.has(id) && !unproven[id])).toEqual([]);
  expect(Object.keys(unproven).filter((id) => tested.has(id))).toEqual([]);
  expect([...tested.keys()].filter((id) => !ids.includes(id))).toEqual([]);
});
