// A process that dies at each point of its steps in a lock directory: real processes, files and `flock`, real time.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { fileStore } from '../../../../lib/lock/stores/file/store.ts';
import { runProcess, startProcess } from '../../../support/processes.ts';
import { describeWith } from '../../../support/requirements.ts';
import { fileDirectory, holdTurn } from '../../bench/file-directory.ts';
import type { LocalPlace } from '../../bench/local-stores.ts';
import { clientOf, eventually } from '../../bench/store-bench.ts';

/** Most of the time of a process is its start. */
const atOnce = 4;
const program = join(import.meta.dirname, 'ends-at-call.ts');

describeWith(['flock'], 'a process that dies at any point of a step', () => {
  test('leaves all of its change or nothing, and the turn to others', async () => {
    let isDone = false;
    let calls = 0;
    while (!isDone) {
      const some = Array.from({ length: atOnce }, (_, index) => calls + 1 + index);
      calls += atOnce;
      const ends = await Promise.all(some.map(endAtCall));
      isDone = ends.includes('done\n');
    }
    // Each counts as one or two: the store's files, the turn, and the writes of the state.
    expect(calls).toBeGreaterThan(80);
  });

  test('leaves the turn to others when it waited for it', async () => {
    let isNext = false;
    for (let call = 1; call <= 14; call += 1) {
      await using place = await fileDirectory('/dev/shm');
      await (await useIt(place))[Symbol.asyncDispose]();
      const turn = holdTurn(place.path);
      await using waits = startProcess('node', [program, place.path, String(call)]);
      await waits.finished;
      isNext ||= existsSync(join(place.path, 'turn/next'));
      turn[Symbol.dispose]();
      await expectUsable(place);
    }
    expect(isNext).toBe(true);
  });
});

/** Returns what the process has printed: nothing if it has died. */
async function endAtCall(call: number): Promise<string> {
  await using place = await fileDirectory('/dev/shm');
  const { stdout, stderr } = await runProcess('node', [program, place.path, String(call)]);
  expect(stderr).toBe('');
  await expectUsable(place);
  return stdout;
}

/** Two stores find what the process left; both go on, and nothing of it is left then. */
async function expectUsable(place: LocalPlace): Promise<void> {
  {
    const stores = await Promise.all([useIt(place), useIt(place)]);
    await using _one = stores[0];
    await using _two = stores[1];
    const [one, two] = [await stores[0].record('one'), await stores[1].record('two')];
    expect(two).toEqual(one && { ...one, key: 'two' });
    expect(await stores[0].tickets()).toEqual([]);
  }
  await eventually(() => {
    const left = readdirSync(place.path, { recursive: true }).toSorted();
    expect(left).toEqual(['mutex', 'sessions', 'state.json', 'turn']);
  });
}

async function useIt({ path }: LocalPlace) {
  const store = await fileStore({ directory: path });
  const client = await clientOf(store, 'n1');
  await store.remove(await client.hold(`lock ${client.session}`));
  await store.closeSession(client.session);
  return store;
}
