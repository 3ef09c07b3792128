// Which steps go into which transaction; the test ends the transactions.
import { expect, test } from '@jest/globals';
import { TimeLimit } from '../../../../../../lib/lock/stores/postgres/time-limit.ts';
import type { Step, WaitingStep } from '../../../../../../lib/lock/stores/postgres/write-steps.ts';
import { WriteSteps } from '../../../../../../lib/lock/stores/postgres/write-steps.ts';
import { eventually } from '../../../../../contract/bench/store-bench.ts';

interface Running {
  readonly names: readonly string[];
  readonly end: () => void;
}

function begin() {
  const running: Running[] = [];
  const steps = new WriteSteps((taken: readonly WaitingStep[]) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    running.push({ names: taken.map(({ look: [name] }) => name), end: resolve });
    return promise;
  });
  const nothing: Step<void> = () => {};
  return {
    running,
    run: (name: string, limit: TimeLimit) => steps.run([name, []], nothing, undefined, limit),
    names: () => running.map((each) => each.names),
  };
}

function limitOf(ms: number): TimeLimit {
  return new TimeLimit(ms, () => new Error('the limit has passed'));
}

test('a step whose limit has passed while it waited is in no transaction', async () => {
  using long = limitOf(60_000);
  using short = limitOf(1);
  const { running, run, names } = begin();
  void run('first', long);
  await eventually(() => expect(names()).toEqual([['first']]));
  const late = run('late', short);
  void run('second', long);
  await expect(late).rejects.toThrow('the limit has passed');
  running[0]?.end();
  await eventually(() => expect(names()).toEqual([['first'], ['second']]));
});

test('a transaction takes 16 steps at most, in their order', async () => {
  using limit = limitOf(60_000);
  const { running, run, names } = begin();
  for (let number = 0; number < 24; number += 1) void run(String(number), limit);
  await eventually(() => expect(names()).toHaveLength(1));
  running[0]?.end();
  await eventually(() => expect(names()).toHaveLength(2));
  expect(names().map(({ length }) => length)).toEqual([16, 8]);
  expect(names().flat()).toEqual(Array.from({ length: 24 }, (_, number) => String(number)));
});

test('a step after a pause starts a transaction at once', async () => {
  using limit = limitOf(60_000);
  const { running, run, names } = begin();
  void run('first', limit);
  await eventually(() => expect(names()).toEqual([['first']]));
  running[0]?.end();
  await new Promise((resolve) => setImmediate(resolve));
  void run('second', limit);
  await eventually(() => expect(names()).toEqual([['first'], ['second']]));
});
