/**
 * Breaks each promise in a copy of the tree and checks that the simulation, or the named test,
 * fails. It is slow, so people run it by hand: `npm run mutations [-- words of the promise]`.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fencingMutations } from './fencing/mutations.ts';
import { kubernetesMutations } from './kubernetes/mutations.ts';
import { lockMutations } from './locks/mutations.ts';
import type { Mutation, MutationList } from './mutation.ts';

const root = resolve(import.meta.dirname, '../..');
/** How long each mutation is searched for; most are found within a second. */
const searchSeconds = 60;
/** The least number of scenarios for that, because a busy machine plays few in the time. */
const searchRuns = 4_000;
/** The limit for the unbroken tree, which has to pass each test first. */
const baselineSeconds = 5;

/** The tests that the unbroken tree has passed. */
const passed = new Set<string>();
const words = process.argv.slice(2).join(' ');
const directory = await mkdtemp(join(tmpdir(), 'berth-mutations-'));
try {
  const parts = [
    'bin',
    'lib',
    'plugin',
    'scripts',
    'sentinel',
    'test',
    'package.json',
    'tsconfig.json',
  ];
  for (const part of parts) {
    await cp(join(root, part), join(directory, part), { recursive: true });
  }
  await symlink(join(root, 'node_modules'), join(directory, 'node_modules'));
  for (const list of [lockMutations, kubernetesMutations, fencingMutations]) {
    const chosen = list.mutations.filter(({ promise }) => promise.includes(words));
    for (const mutation of chosen) {
      await expectToPass(mutation, list);
      await judge(mutation, list);
    }
  }
} finally {
  await rm(directory, { recursive: true });
}

/** Throws if the test of a mutation fails without it: then it would find nothing. */
async function expectToPass({ test }: Mutation, list: MutationList): Promise<void> {
  const name = test ?? list.simulation;
  if (passed.has(name)) return;
  const output = await run(test, list, baselineSeconds, 0);
  if (output !== undefined) throw new Error(`${name} fails without a mutation:\n${output}`);
  passed.add(name);
}

async function judge(mutation: Mutation, list: MutationList): Promise<void> {
  const path = join(directory, mutation.file);
  const original = await readFile(path, 'utf8');
  if (original.split(mutation.from).length < 2) {
    report(mutation, 'NOT APPLICABLE', `${mutation.file} no longer has this text`);
    return;
  }
  await writeFile(
    path,
    original.replace(mutation.from, () => mutation.to),
  );
  const output = await run(mutation.test, list, searchSeconds, searchRuns);
  await writeFile(path, original);
  if (output === undefined) {
    report(
      mutation,
      'SURVIVED',
      mutation.test ?? `after ${searchSeconds} s and ${searchRuns} scenarios`,
    );
  } else {
    report(mutation, 'found', findingIn(output));
  }
}

/** Returns the law that was broken, or the test that failed, and after how many simulated runs. */
function findingIn(output: string): string {
  const text = output.replace(
    /^ +● (the lock engine keeps|the Kubernetes store keeps|no host writes).*$/gm,
    '',
  );
  const [, runs] = /^(\d+) simulated runs of/m.exec(text) ?? [];
  const [, law] = /"message": "(.*)"/.exec(text) ?? [];
  const [, finding] = /^ +(at .*|● .*)$/m.exec(text) ?? [];
  return [finding ?? text.slice(0, 300), law, runs && `after ${runs} runs`]
    .filter((part) => part !== undefined)
    .join('; ');
}

/** Runs the test; returns its output when it fails, and undefined when it passes. */
async function run(
  test: string | undefined,
  list: MutationList,
  seconds: number,
  runs: number,
): Promise<string | undefined> {
  const flags = ['--experimental-vm-modules', '--disable-warning=ExperimentalWarning'];
  const jest = ['node_modules/jest/bin/jest.js', '--bail'];
  const simulation = [list.simulation, '-t', list.test];
  const child = spawn(process.execPath, [...flags, ...jest, ...(test ? [test] : simulation)], {
    cwd: directory,
    env: {
      ...process.env,
      ...{ BERTH_SOAK_SECONDS: `${seconds}`, BERTH_SIM_RUNS: `${runs}`, BERTH_SIM_NO_SHRINK: '1' },
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  await once(child, 'close');
  return child.exitCode === 0 ? undefined : output;
}

function report({ promise, file, from, to }: Mutation, verdict: string, finding: string): void {
  if (verdict !== 'found') process.exitCode = 1;
  process.stdout.write(`${verdict}: ${promise}\n  ${file}: ${from} → ${to}\n  ${finding}\n`);
}
