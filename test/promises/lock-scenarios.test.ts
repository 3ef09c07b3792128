// The scenarios of other lock managers: prints which tests prove which, and fails when one has
// neither a test nor a reason. Reads the names of tests only.
import { expect, test } from '@jest/globals';
import { expectProven } from './tested-names.ts';

/**
 * The situations in the test suites of other lock managers, and their known bugs. A test that
 * proves one has its number in its name: S1 is the first.
 */
const scenarios: readonly string[] = [
  'lock, unlock, and another locks; the unlock aborts the signal',
  'a try for a held lock is refused, which is no error, and leaves nothing',
  'different names do not conflict',
  'a waiter can be cancelled; the holder does not notice',
  'several concurrent requests get the lock, one after another',
  'a lock can be taken again after its unlock',
  'a holder that never reads its signal blocks nobody',
  'many tasks under one lock never overlap',
  'the same holds between connections',
  'two waiters on two connections are cancelled',
  'two tries on two connections are refused while a third holds',
  'a lock is unlocked that was never locked',
  'many cycles leave nothing behind',
  'a lock object is used twice',
  'a holder expires: another gets the lock, and the late unlock does not touch it',
  'a wait ends at its limit and holds nothing',
  'a cancelled request holds nothing',
  'exactly one of several contending tries wins',
  'renewals keep a lock for much longer than its TTL',
  'the first client prepares the store',
  'disabling and enabling are idempotent',
  'an enabled lock becomes disabled',
  'one host disables a lock for all hosts; another enables it',
  'the owner of a job locks the job again',
  'a job is unlocked repeatedly',
  'a request for a disabled lock is refused with an error of its own',
  'two components want one job: the second is refused with both names, until the roles turn',
  'a lock is taken from its holder only after its longest hold',
  'the no-op lock grants everything',
  'the lock within a process refuses a second try, and its unlock is idempotent',
  'a pool keeps any capacity exactly',
  'a pool of capacity 0 is refused',
  'freeing a number that is not allocated is an error',
  'a number is unlocked that is not locked',
  'a lock is unlocked twice',
  'numbers are allocated, locked, unlocked and freed repeatedly',
  'two allocations differ',
  'the whole pool can be allocated, each number once',
  'an allocation beyond the capacity is refused',
  'a freed number is the next to be allocated',
  'after all numbers are freed, allocation starts from the first',
  'the second waits as long as the first holds',
  'two locks are released in either order',
  'a pool in a file: allocate, claim, free, free all, claim',
  'the operating system shows who holds a lock of the file store',
  'a request without a time-out waits without a limit',
  'a wait follows a refused try',
  'a released lock is forgotten',
  'a normal release is not reported as a loss',
  'many conflicting writers do not block each other for ever',
  'a waiter is notified that it waits, with the names of the locks',
  'a wait has a limit',
  'a scope unlocks at its end',
  'a granted try is released, a refused one is not',
  'an unlock after a loss returns at once, and the loss was reported',
  'the mode is right after an expired shared lock was taken over',
  'a holder is notified at its deadline although the store is silent',
  'a wait that ends at its limit never leaves a held lock',
  'clocks that differ by an hour change nothing',
  'work runs only under the lock; all that contend meanwhile fail',
  'both locks of a pair exclude requests for one of them',
  'a waiter whose session ends does not get the lock',
  'a lock is unlocked twice, or after a loss',
  'waiters on one and on three connections never hold together',
  'the middle waiter dies: the third still waits for the holder',
  'readers and writers contend on one and on several connections',
  'a repeated unlock whose first answer was lost does not touch the next holder',
  'a waiter is notified at once that its own session has ended',
  'a reader or writer whose lease expired is not granted',
  'a duration that is not a whole number is refused',
  'overlapping sets of locks exclude each other',
  'an unreachable store is reported as such',
  'a lock ends by itself',
  'work under a lock is notified when the lock can not be renewed',
  'when one of several locks is refused, none is taken',
  'when one release of several fails, the others are released',
  'a session or the server dies while somebody waits',
  'a shared lock does not become exclusive while it is held',
  'another request asks the holder to release',
  'holders and waiters are listed in order',
  'nothing is left in the store, whatever fails',
  'tokens grow',
  'an operator takes a lock away',
  'nothing of an interrupted try remains',
  'a dead reader does not block others',
];

/** The scenarios that no test can prove, with the reason. */
const unproven: Readonly<Record<string, string>> = {
  S12: 'can not be written: a Lock exists only after its grant',
  S14: 'can not be written: lock() makes a new Lock each time; a second unlock resolves (S63)',
  S79: 'not offered: the signal of a holder aborts when its lock is taken away (S83)',
};

test('every scenario of other lock managers has a test, or a reason for none', () => {
  expect(scenarios).toHaveLength(85);
  expectProven({
    title: 'Scenarios of other lock managers',
    promised: Object.fromEntries(scenarios.map((text, index) => [`S${index + 1}`, text])),
    unproven,
    tagsOf: (name) => name.match(/\bS\d+\b/g) ?? [],
  });
});

/** The tests that run on Kubernetes: its own, the contracts that it passes, and chaos. */
const onKubernetes =
  /^(contract\/stores\/kubernetes\/|contract\/(store|locks)\/.*-contract$|chaos\/kubernetes-)/;

test('every scenario of a lock manager for Kubernetes has a test on Kubernetes', () => {
  const tags = scenarios.map((text, index) => [`S${index + 1}`, text] as const).slice(45, 59);
  const promised = Object.fromEntries(tags);
  expectProven({
    title: 'Scenarios of lockgate, on Kubernetes',
    promised,
    counts: (file) => onKubernetes.test(file),
    tagsOf: (name) => (name.match(/\bS\d+\b/g) ?? []).filter((tag) => tag in promised),
  });
});
