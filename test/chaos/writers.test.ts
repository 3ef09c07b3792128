// Containers on several hosts that write to the same volumes under random faults: real hosts,
// engines, daemons and etcd, real time. A checker reads the files afterwards.
import { cp, mkdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { waitFor } from '../support/processes.ts';
import { describeWith } from '../support/requirements.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { etcdVersions } from '../support/tools.ts';
import type { WritersEvidence } from './writers-check.ts';
import { writersFigures, writerViolations } from './writers-check.ts';
import type { WritersCluster } from './writers-cluster.ts';
import { startWritersCluster } from './writers-cluster.ts';
import type { SufferedFault } from './writers-faults.ts';
import { sufferWriterFaults } from './writers-faults.ts';
import { planWriterFaults } from './writers-plan.ts';

/**
 * BERTH_SOAK_SECONDS sets the length of the run; otherwise it is short. BERTH_SOAK_SEED repeats the
 * plan of faults of a run.
 */
const soakSeconds = Number(process.env.BERTH_SOAK_SECONDS ?? 20);
const firstSeed = Number(process.env.BERTH_SOAK_SEED ?? Date.now() % 1_000_000);
// The daemons inherit the environment, and refuse unknown BERTH_ variables.
delete process.env.BERTH_SOAK_SECONDS;
delete process.env.BERTH_SOAK_SEED;
const lengthMs = soakSeconds * 1_000;
/** The length of one round on one cluster. */
const roundMs = Math.min(lengthMs, 120_000);

const ttlMs = 5_000;
const engines = ['26.1', '20.10', '26.1'] as const;
const volumes = { shared: [], block: ['-o', 'driver=image', '-o', 'size=64m'] };
/** The limit for cleaning up; mounts that a killed engine left are looked for every 30 s. */
const tidyLimitMs = 60_000;

describeWith(
  ['docker', 'etcd', 'loop'],
  'containers on three hosts that write to one volume',
  () => {
    test(
      'defect A1: never write at once, and lose no acknowledged write, under random faults',
      async () => {
        const endsAt = performance.now() + lengthMs;
        for (let seed = firstSeed; performance.now() < endsAt; seed += 1) {
          expect(await violationsOfRound(seed)).toEqual([]);
        }
      },
      3 * lengthMs + 240_000,
    );
  },
);

test('a seed gives the same plan of faults each time', () => {
  const plan = (seed: number) =>
    planWriterFaults(seededRandom(seed), { hosts: 3, volumes: ['v'], ttlMs, lengthMs: 60_000 });
  expect(plan(1)).toEqual(plan(1));
  expect(plan(1)).not.toEqual(plan(2));
  expect(plan(1).length).toBeGreaterThan(20);
});

/** Runs one round; returns the violations with everything needed to investigate them. */
async function violationsOfRound(seed: number): Promise<string[]> {
  const random = seededRandom(seed);
  const etcd = random.pick(etcdVersions);
  const round = `seed ${seed}, etcd ${etcd}`;
  await using cluster = await startWritersCluster({ engines, etcd, ttlMs, volumes });
  const names = Object.keys(volumes);
  const options = { hosts: engines.length, volumes: names, ttlMs, lengthMs: roundMs };
  const plan = planWriterFaults(random, options);
  say(`${round}: ${plan.length} faults planned in ${roundMs / 1_000} s`);
  const faults: SufferedFault[] = [];
  try {
    for (const writer of cluster.writers) writer.begin();
    await sufferWriterFaults(cluster, plan, faults);
    // All faults have ended: the volumes move from host to host again.
    await pause(2 * ttlMs);
    await Promise.all(cluster.writers.map((writer) => writer.end()));
    const evidence: WritersEvidence[] = [];
    const violations: string[] = [];
    for (const volume of names) {
      violations.push(...(await unusable(cluster, volume)));
      evidence.push(await evidenceOf(cluster, volume));
    }
    violations.push(...evidence.flatMap(writerViolations));
    violations.push(...(await left(cluster)));
    for (const line of figures(evidence, faults, violations)) say(`${round}: ${line}`);
    if (violations.length === 0) return [];
    const kept = await keepEvidence(seed, cluster, evidence);
    return [round, `evidence: ${kept}`, ...faults.map(described), ...violations];
  } catch (error) {
    const kept = await keepEvidence(seed, cluster, []);
    const what = [`${round} has failed, evidence: ${kept}`, ...faults.map(described)];
    // Printed here, too: the end of the cluster may also fail and hide the error.
    say([...what, error instanceof Error ? error.stack : error].join('\n'));
    throw new Error(what.join('\n'), { cause: error });
  }
}

/** Checks that every host can use the volume. */
async function unusable({ nodes }: WritersCluster, volume: string): Promise<string[]> {
  const found: string[] = [];
  for (const { name, shell } of nodes) {
    const write = () => shell(volume, `echo ${name} > /data/probe && sync && cat /data/probe`);
    await waitFor(async () => (await write()) === name, 40_000, `${volume} on ${name}`).catch(
      (error: Error) => found.push(`${volume} can't be used on ${name}: ${error.cause ?? error}`),
    );
  }
  return found;
}

async function evidenceOf(cluster: WritersCluster, volume: string): Promise<WritersEvidence> {
  let text = '';
  for (const node of cluster.nodes) {
    // An unusable volume was reported before.
    text ||= await node.shell(volume, 'cat /data/records').catch(() => '');
  }
  const own = cluster.writers.filter((writer) => writer.volume === volume);
  const acknowledged = await Promise.all(own.map((writer) => writer.acknowledged()));
  return { volume, file: text.split('\n'), acknowledged: acknowledged.flat() };
}

async function left(cluster: WritersCluster): Promise<string[]> {
  const isTidy = async () => (await cluster.leftovers()).length === 0;
  const waited = await waitFor(isTidy, tidyLimitMs, 'nothing to be left').catch(() => false);
  return waited ? [] : (await cluster.leftovers()).map((each) => `left over: ${each}`);
}

function figures(
  evidence: readonly WritersEvidence[],
  faults: readonly SufferedFault[],
  violations: readonly string[],
): string[] {
  const counts = new Map<string, number>();
  for (const { kind } of faults) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  const byKind = [...counts].map(([kind, count]) => `${count} × ${kind}`).join(', ');
  return [
    `${faults.length} faults: ${byKind}`,
    ...evidence.map((each) => {
      const found = writersFigures(each);
      return (
        `${each.volume}: ${found.acknowledged} writes acknowledged, ${found.turns} turns, ` +
        `${found.failovers} failovers, unavailable ${found.longestGapMs} ms at the longest and ` +
        `${found.medianHandoverMs} ms at the median hand-over`
      );
    }),
    `${violations.length} violations`,
  ];
}

function described({ kind, target, fromMs, toMs }: SufferedFault): string {
  return `${fromMs} to ${toMs} ms: ${kind} (${target})`;
}

/** Saves the logs of all hosts and the records; returns the directory. */
async function keepEvidence(
  seed: number,
  { nodes, writers }: WritersCluster,
  evidence: readonly WritersEvidence[],
): Promise<string> {
  const directory = join(tmpdir(), `berth-writers-${seed}-${Date.now()}`);
  await mkdir(directory);
  const write = (name: string, lines: readonly string[]) =>
    writeFile(join(directory, name), lines.join('\n'));
  for (const { volume, file, acknowledged } of evidence) {
    await write(`${volume}.records`, file);
    await write(`${volume}.acknowledged`, acknowledged);
  }
  for (const { name, daemon, host } of nodes) {
    await write(`${name}.daemon.log`, [daemon.log()]);
    await write(`${name}.engine.log`, [host.engineOutput()]);
    for (const file of ['sentinel.log', 'events.jsonl', 'mounts.json']) {
      const from = join(host.directory, 'berth', file);
      await cp(from, join(directory, `${name}.${file}`)).catch(() => undefined);
    }
  }
  const refusals = writers.flatMap(({ node, volume, refusals: said }) =>
    [...said].map(([text, count]) => `${node.name} ${volume} ${count} × ${text}`),
  );
  await write('refusals', refusals);
  return directory;
}

function say(line: string): void {
  process.stderr.write(`writers: ${line}\n`);
}
