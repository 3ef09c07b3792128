// Locks under random faults of workers, network, clocks and etcd: real processes and servers, real
// time.
import { writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { describeWith } from '../support/requirements.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { etcdVersions } from '../support/tools.ts';
import { ChaosBench } from './chaos-bench.ts';
import type { Evidence } from './check-history.ts';
import { describeFault, planFaults, sufferFaults } from './random-faults.ts';

/**
 * BERTH_SOAK_SECONDS sets the length of the run (for one etcd and for three together); otherwise it
 * is short. BERTH_SOAK_SEED repeats the faults of a run.
 */
const soakSeconds = Number(process.env.BERTH_SOAK_SECONDS ?? 32);
const firstSeed = Number(process.env.BERTH_SOAK_SEED ?? Date.now() % 1_000_000);
const lengthMs = (soakSeconds * 1_000) / 2;
/** The length of one round on one etcd; a set that grows without limit would slow the writes. */
const roundMs = Math.min(lengthMs, 30_000);

const ttlMs = 3_000;
const workerCount = 4;
const sets = ['a', 'b'];

describeWith(['etcd'], 'four workers under random faults', () => {
  test.each([1, 3] as const)(
    'never lose an acknowledged write, on %d etcd',
    async (members) => {
      const endsAt = performance.now() + lengthMs;
      for (let seed = firstSeed; performance.now() < endsAt; seed += 1) {
        expect(await violationsOfRound(members, seed)).toEqual([]);
      }
    },
    2 * lengthMs + 120_000,
  );
});

test('a seed gives the same plan of faults each time', () => {
  const plan = (seed: number) =>
    planFaults(seededRandom(seed), { workers: 4, members: 3, ttlMs, lengthMs: 30_000 });
  expect(plan(1)).toEqual(plan(1));
  expect(plan(1)).not.toEqual(plan(2));
  expect(plan(1).length).toBeGreaterThan(10);
});

/** Runs one round; returns the violations with everything needed to investigate them. */
async function violationsOfRound(members: 1 | 3, seed: number): Promise<string[]> {
  const random = seededRandom(seed);
  const version = random.pick(etcdVersions);
  const options = { workers: workerCount, members, ttlMs, lengthMs: roundMs };
  const plan = planFaults(random, options);
  const round = `seed ${seed}, ${members} × etcd ${version}`;
  say(`${round}: ${plan.length} faults in ${roundMs / 1_000} s`);
  await using bench = await ChaosBench.open({ members, version, ttlMs });
  try {
    const names = Array.from({ length: workerCount }, (_, index) => `w${index}`);
    const workers = [...(await bench.workers(...names))];
    await Promise.all(workers.map((worker, index) => worker.work(sets, seed + index)));
    await sufferFaults(bench, plan, workers, sets);
    // All faults have ended: every worker has to make progress again.
    await Promise.all(workers.map((worker) => bench.progressOf(worker, 'a', 15_000)));
    const violations = await bench.violations();
    const evidence = await bench.evidence();
    say(`${round}: ${summaryOf(evidence)}`);
    if (violations.length === 0) return [];
    const path = join(tmpdir(), `berth-history-${seed}-${members}.json`);
    writeFileSync(
      path,
      JSON.stringify({ plan, events: evidence.events, sets: [...evidence.sets] }),
    );
    return [round, `history: ${path}`, ...plan.map(describeFault), ...violations];
  } catch (error) {
    throw new Error([`${round} has failed after`, ...plan.map(describeFault)].join('\n'), {
      cause: error,
    });
  }
}

function summaryOf({ events }: Evidence): string {
  const counts = new Map<string, number>();
  for (const { op } of events) counts.set(op, (counts.get(op) ?? 0) + 1);
  const count = (op: string) => counts.get(op) ?? 0;
  const writes = ['written', 'refused', 'unknown'].map((op) => `${count(op)} ${op}`).join(', ');
  return `${writes}; of locks, ${count('lost')} lost and ${count('denied')} denied`;
}

function say(line: string): void {
  process.stderr.write(`random faults: ${line}\n`);
}
