// The freeze of a file system that another program, or a predecessor, has frozen. The kernel is played.
import { expect, test } from '@jest/globals';
import type { FileSystems, StateFile } from '../../../sentinel/ports.ts';
import { SentinelState } from '../../../sentinel/state.ts';
import { StorageActions } from '../../../sentinel/storage-actions.ts';
import { watchSchema } from '../../../sentinel/watch.ts';
import { watched } from './views.ts';

const clock = { now: () => performance.now(), date: () => new Date(1_000) };
const db = { ...watched('db'), ownsFileSystem: true };
const watch = watchSchema.parse({
  ...{ bootId: 'boot', leadMs: 1, graceMs: 1, noted: 0, protocol: 2 },
  volumes: [db],
});

/** Starts with the lines that a predecessor has left in its state file. */
function sentinel(lines: readonly string[] = []) {
  const file: StateFile = { read: () => lines, append: () => true, replace: () => true };
  const state = new SentinelState(file, 'boot', clock);
  state.update(watch);
  const kernel = { isFrozen: false, isBroken: false };
  const fileSystems: FileSystems = {
    flush: async () => {},
    freeze: async () => {
      const wasFrozen = kernel.isFrozen;
      kernel.isFrozen = true;
      return wasFrozen ? 'found' : 'frozen';
    },
    settle: async () => {
      if (kernel.isBroken) throw new Error('the device is busy');
    },
    cutOff: async () => {},
    thaw: async () => {
      kernel.isFrozen = false;
    },
  };
  let working = Promise.resolve();
  const tasks = {
    start: (_: string, work: () => Promise<void>) => {
      working = work().catch(() => {}); // A failure is in the state.
    },
  };
  const actions = new StorageActions({ state, fileSystems, clock, tasks });
  const act = async (what: 'freeze' | 'thaw') => {
    const action = { do: what, volume: db } as const;
    actions.intend(action);
    actions.begin(action);
    await working;
    return state.fence('db').fs;
  };
  return { state, kernel, act };
}

test('a freeze of the daemon, which thaws when its copy ends, is none of the sentinel', async () => {
  const { state, kernel, act } = sentinel();
  state.changeFence('db', { fs: 'open' });
  await act('freeze');
  await act('thaw'); // Nothing is inherited from here on.
  kernel.isFrozen = true;
  expect(await act('freeze')).toBe('open');
  expect(state.happenings.at(-1)?.message).toMatch(
    /can't be frozen: another program has frozen it/,
  );
  kernel.isFrozen = false;
  expect(await act('freeze')).toBe('frozen');
});

test("the sentinel's own freeze counts, also if what follows it had failed", async () => {
  const { state, kernel, act } = sentinel();
  await act('thaw');
  state.changeFence('db', { fs: 'open' });
  kernel.isBroken = true;
  expect(await act('freeze')).toBe('open');
  kernel.isBroken = false;
  expect(await act('freeze')).toBe('frozen');
});

test('a freeze that a predecessor may have made counts until it is thawed', async () => {
  const { state, kernel, act } = sentinel();
  expect(state.fence('db').fs).toBe('freezing'); // The state of any predecessor is lost.
  kernel.isFrozen = true;
  expect(await act('freeze')).toBe('frozen');
  expect(await act('thaw')).toBe('open');
  kernel.isFrozen = true;
  expect(await act('freeze')).toBe('open');
});
