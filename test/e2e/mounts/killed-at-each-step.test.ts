// Operations stand still before each of their steps in turn, all of them side by side, and the storage worker is
// killed, then, in a second attempt, the daemon; and a daemon kills itself after each change of the store. Then each
// operation is repeated: it completes, and the doctor finds nothing. Bare host, every driver, real storage.
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import { startBareHost } from '../hosts/bare-host.ts';
import { startNode } from '../hosts/node.ts';
import type { BareHostNode, DriverName, Operation } from './half-done-operations.ts';
import { HalfDone } from './half-done-operations.ts';
import type { Stand } from './standing-steps.ts';
import { StandingSteps } from './standing-steps.ts';

const operationsOf: Readonly<Record<DriverName, readonly Operation[]>> = {
  directory: ['create', 'remove', 'rename', 'restore', 'set'],
  image: ['create', 'remove', 'rename', 'restore', 'set', 'resize', 'grow'],
  tmpfs: ['create', 'remove', 'rename', 'set', 'resize', 'grow'],
};
const drivers = ['directory', 'image', 'tmpfs'] as const;

/** More than any operation has. */
const mostSteps = 60;

interface Trial {
  readonly driver: DriverName;
  readonly operation: Operation;
}

const trials: readonly Trial[] = drivers.flatMap((driver) =>
  operationsOf[driver].map((operation) => ({ driver, operation })),
);
const textOf = ({ driver, operation }: Trial) => `${driver} ${operation}`;
const nameOf = ({ driver, operation }: Trial, how: string) => `${driver}-${operation}-${how}`;

describeWith(['root', 'loop'], 'an operation that is killed at each step', () => {
  let stack: AsyncDisposableStack;
  let node: BareHostNode;
  let steps: StandingSteps;
  const halves = new Map<DriverName, HalfDone>();
  const halfOf = ({ driver }: Trial) => halves.get(driver) as HalfDone;
  /** The state after each operation when nothing interrupts it. */
  const expected = new Map<string, unknown>();

  beforeAll(async () => {
    await using started = new AsyncDisposableStack();
    const host = started.use(await startBareHost('n1'));
    steps = await StandingSteps.make(host.directory);
    const { env } = steps;
    node = { ...started.use(await startNode(host, { lockTimeout: '5s', env })), host };
    for (const driver of drivers) halves.set(driver, new HalfDone(node, driver));
    await Promise.all(
      trials.map(async (trial) => {
        const name = nameOf(trial, 'never');
        await halfOf(trial).prepare(trial.operation, name);
        await halfOf(trial).run(trial.operation, name);
        await halfOf(trial).end(trial.operation, name);
        expected.set(textOf(trial), await halfOf(trial).state(name));
      }),
    );
    stack = started.move();
  });
  afterAll(async () => {
    await stack[Symbol.asyncDispose]();
  });

  /** Begins operations that stand still before a step; returns those that do, and the end of all. */
  async function begin(all: readonly Trial[], how: string, before: number) {
    const plan = await steps.begin({ volumes: all.map((trial) => nameOf(trial, how)), before });
    const standing = (trial: Trial) => steps.at(nameOf(trial, how), plan);
    const ended = new Set<Trial>();
    const ends = all.map(async (trial) => {
      // A killed daemon answers nothing.
      await halfOf(trial)
        .attempt(trial.operation, nameOf(trial, how))
        .catch(() => {});
      ended.add(trial);
    });
    const stands: (Stand & { readonly trial: Trial })[] = [];
    for (const trial of all) {
      await waitFor(
        async () => ended.has(trial) || (await standing(trial)) !== undefined,
        30_000,
        `${textOf(trial)} to stand still before step ${before}`,
      );
      const at = await standing(trial);
      if (at) stands.push({ trial, ...at });
    }
    return { stands, end: () => Promise.all(ends) };
  }

  /** Repeats operations, which complete now; the doctor finds nothing. */
  async function expectCompleted(all: readonly Trial[], how: string, at?: Map<Trial, string>) {
    await Promise.all(
      all.map(async (trial) => {
        const name = nameOf(trial, how);
        await halfOf(trial).run(trial.operation, name);
        await halfOf(trial).end(trial.operation, name);
        const where = `${textOf(trial)}, ${at?.get(trial) ?? how}`;
        expect([where, await halfOf(trial).state(name)]).toEqual([
          where,
          expected.get(textOf(trial)),
        ]);
      }),
    );
    const leftovers = async () =>
      (await Promise.all([...halves.values()].map((half) => half.leftovers()))).flat();
    await waitFor(async () => (await leftovers()).length === 0, 10_000, 'the clean-up');
    const doctor = await halves.get('directory')?.doctor('');
    expect(doctor).toEqual({ exitCode: 0, findings: [] });
  }

  test('of its storage: completes with a repeat, and the doctor finds nothing', async () => {
    const seen = new Map<string, string[]>();
    let all = trials.filter(({ operation }) => operation !== 'set');
    for (let before = 1; all.length > 0; before += 1) {
      expect(before).toBeLessThan(mostSteps);
      const how = `step-${before}`;
      await Promise.all(
        all.map((trial) => halfOf(trial).prepare(trial.operation, nameOf(trial, how))),
      );
      const first = await begin(all, how, before);
      for (const { trial, step } of first.stands) {
        seen.set(textOf(trial), [...(seen.get(textOf(trial)) ?? []), step]);
      }
      await steps.end(); // What the daemon undoes now does not stand still.
      for (const pid of new Set(first.stands.map((each) => each.pid))) process.kill(pid, 'SIGKILL');
      await first.end();
      const second = await begin(all, how, before);
      await node.daemon.kill();
      await steps.end();
      await second.end();
      await node.daemon.start();
      const at = new Map(first.stands.map(({ trial, step }) => [trial, step]));
      await expectCompleted(all, how, at);
      all = all.filter((trial) => at.has(trial));
    }
    for (const [text, names] of seen) {
      process.stderr.write(`${text}: ${names.length} steps\n${names.join('\n')}\n`);
    }
    // Each operation has stood still at least once in the middle of its work.
    for (const trial of trials.filter(({ operation }) => operation !== 'set')) {
      expect([textOf(trial), seen.get(textOf(trial))?.length ?? 0]).not.toEqual([textOf(trial), 0]);
    }
  });

  test('of the store: completes with a repeat, and the doctor finds nothing', async () => {
    const counts: string[] = [];
    const all = trials.filter(
      ({ driver, operation }) =>
        driver === 'directory' || (driver === 'image' && /resize|grow/.test(operation)),
    );
    for (const trial of all) {
      // A kill after the first change, which acquires the locks, is one before the first step of the storage.
      for (let commits = trial.operation === 'set' ? 1 : 2; ; commits += 1) {
        expect(commits).toBeLessThan(mostSteps);
        const name = nameOf(trial, `commit-${commits}`);
        await halfOf(trial).prepare(trial.operation, name);
        await steps.begin({ volumes: [], commits });
        const failure = await halfOf(trial)
          .attempt(trial.operation, name)
          .catch((error) => String(error));
        await steps.end();
        if (failure === '') {
          counts.push(`${textOf(trial)}: ${commits - 1} changes of the store`);
          break;
        }
        await waitFor(() => node.daemon.process.hasExited, 10_000, `the kill; it says ${failure}`);
        await node.daemon.start();
        await expectCompleted([trial], `commit-${commits}`);
      }
    }
    process.stderr.write(`${counts.join('\n')}\n`);
  });
});
