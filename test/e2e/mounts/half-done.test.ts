// A real daemon is killed at every program that its operations run, and at random moments; then the
// operations are repeated or left to the doctor. Bare host, both drivers, real storage.
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import { seededRandom } from '../../support/seeded-random.ts';
import { startBareHost } from '../hosts/bare-host.ts';
import { blockProgram } from '../hosts/block-program.ts';
import { startNode } from '../hosts/node.ts';
import type { BareHostNode, Operation } from './half-done-operations.ts';
import { HalfDone, operations } from './half-done-operations.ts';

/** The operations that end with a deletion, by `rm`, between storage and record. */
const deleting = operations.filter((each) => !['create', 'rename', 'set'].includes(each));

/**
 * The daemon is killed while it runs one of these programs, in the middle of all operations that
 * call it.
 */
const points: Record<
  'directory' | 'image',
  readonly (readonly [program: string, readonly Operation[]])[]
> = {
  directory: [
    ['setpriv', ['snapshot', 'copy', 'restore']], // It starts each copy.
    ['sync', ['snapshot', 'copy', 'restore']],
    ['rm', deleting],
  ],
  image: [
    ['mkfs.ext4', ['create']],
    ['cp', ['snapshot', 'copy', 'restore']],
    ['tune2fs', ['copy']],
    ['rm', deleting],
  ],
};

const seed = Number(process.env.BERTH_SOAK_SEED ?? Math.floor(Math.random() * 1e9));
const randomRounds = Number(process.env.BERTH_SOAK_ROUNDS ?? 1);

for (const driver of ['directory', 'image'] as const) {
  const requirements = driver === 'image' ? (['root', 'loop'] as const) : (['root'] as const);
  describeWith(requirements, `half-done work of the ${driver} driver`, () => {
    let stack: AsyncDisposableStack;
    let node: BareHostNode;
    let half: HalfDone;
    /** The state before each operation, and after it when nothing interrupts it. */
    const expected = new Map<Operation, { before: unknown; after: unknown }>();

    beforeAll(async () => {
      await using started = new AsyncDisposableStack();
      const host = started.use(await startBareHost('n1'));
      node = { ...started.use(await startNode(host, { lockTimeout: '5s' })), host };
      half = new HalfDone(node, driver);
      for (const operation of operations) {
        const name = `never-${operation}`;
        await half.prepare(operation, name);
        await half.end(operation, name);
        const before = await half.state(name);
        await half.run(operation, name);
        expected.set(operation, { before, after: await half.state(name) });
      }
      stack = started.move();
    });
    afterAll(async () => {
      await stack[Symbol.asyncDispose]();
    });

    const nameOf = (how: string) => (operation: Operation) => `${how}-${operation}`;

    async function prepareAll(all: readonly Operation[], name: (operation: Operation) => string) {
      for (const operation of all) await half.prepare(operation, name(operation));
      return all.map((operation) => ({ operation, name: name(operation) }));
    }

    async function expectEnded({ operation, name }: { operation: Operation; name: string }) {
      await half.run(operation, name);
      await half.end(operation, name);
      expect({ name, state: await half.state(name) }).toEqual({
        name,
        state: expected.get(operation)?.after,
      });
    }

    async function expectClean(): Promise<void> {
      await waitFor(
        async () => (await half.leftovers()).length === 0,
        5_000,
        'the clean-up at the start',
      );
      expect(await half.doctor('')).toEqual({ exitCode: 0, findings: [] });
    }

    test.each(points[driver])(
      'when work is interrupted: at %s, the next attempt or else the doctor completes or undoes it',
      async (program, all) => {
        const retried = await prepareAll(all, nameOf(`retried-${program}`));
        const left = await prepareAll(all, nameOf(`left-${program}`));
        const { began, release } = await blockProgram(
          node.host,
          program,
          moments[program] ?? 'after',
        );
        for (const { operation, name } of [...retried, ...left]) half.begin(operation, name);
        await began(2 * all.length);
        await node.daemon.kill();
        await release('kill');
        await node.daemon.start();

        for (const { operation, name } of left) await half.goesOn(operation, name);
        for (const each of retried) await expectEnded(each);
        for (const { operation, name } of left) await half.end(operation, name);
        const { findings } = await half.doctor('--fix');
        const found = findings.filter(({ state }) => state === 'found');
        // A record that waits for its removal to be repeated, or content without a record.
        const [records, orphans] = [
          found.filter(({ kind }) => kind === 'record-without-storage'),
          found.filter(({ kind }) => kind.endsWith('-without-record')),
        ];
        expect(found).toHaveLength(records.length + orphans.length);
        for (const { what } of records) await half.run('remove', what);
        const flags = orphans.map(({ what }) => `--delete ${what}`).join(' ');
        if (flags !== '')
          expect(await half.doctor(`--fix ${flags}`)).toMatchObject({ exitCode: 0 });
        await expectClean();
        for (const { operation, name } of left) {
          const { before, after } = expected.get(operation) ?? {};
          expect([before, after]).toContainEqual(await half.state(name));
        }
      },
    );

    test(`after a kill at a random moment, all operations can be completed (seed ${seed})`, async () => {
      const random = seededRandom(seed);
      for (let round = 0; round < randomRounds; round += 1) {
        const all = await prepareAll(operations, nameOf(`random-${round}`));
        for (const { operation, name } of all) half.begin(operation, name);
        await delay(random.below(driver === 'image' ? 400 : 150));
        await node.daemon.kill();
        await node.daemon.start();
        for (const each of all) await expectEnded(each);
        await expectClean();
      }
    });
  });
}

/** The daemon is killed after the program's work, except for these programs. */
const moments: Readonly<Record<string, 'before' | 'after'>> = { rm: 'before', sync: 'before' };
