// The root of containers under userns-remap: an engine that answers, does not, or maps, in virtual time.
import { expect, test } from '@jest/globals';
import { MappedRoots, rootOf } from '../../../../plugin/engine/mapped-root.ts';
import { ManualClock } from '../../../support/manual-clock.ts';

const { signal } = new AbortController();

test('reads the owner that the engine appends to its directory', () => {
  expect(rootOf('/var/lib/docker/231072.100000')).toEqual({ uid: 231072, gid: 100000 });
  expect(rootOf('/data/1.2/5.6/')).toEqual({ uid: 5, gid: 6 });
  expect(() => rootOf('/var/lib/docker')).toThrow('/var/lib/docker');
});

test('asks once in a while, and again after a new engine', async () => {
  const clock = new ManualClock();
  let directory: string | undefined;
  let asked = 0;
  const engine = {
    remappedDirectory: async () => {
      asked += 1;
      return directory;
    },
  };
  const roots = new MappedRoots({ engine, clock });
  expect(await roots.current(signal)).toBeUndefined();
  directory = '/var/lib/docker/10.20';
  expect(await roots.current(signal)).toBeUndefined();
  expect(asked).toBe(1);
  roots.forget();
  expect(await roots.current(signal)).toEqual({ uid: 10, gid: 20 });
  directory = undefined;
  await clock.advance(61_000);
  expect(await roots.current(signal)).toBeUndefined();
  expect(asked).toBe(3);
});

test('an engine that does not answer maps nobody, and is asked again', async () => {
  const clock = new ManualClock();
  let fails = true;
  const engine = {
    remappedDirectory: async () => {
      if (fails) throw new Error('hang up');
      return '/d/1.1';
    },
  };
  const roots = new MappedRoots({ engine, clock });
  expect(await roots.current(signal)).toBeUndefined();
  fails = false;
  expect(await roots.current(signal)).toEqual({ uid: 1, gid: 1 });
});

test('a caller that leaves gets the reason of its signal', async () => {
  const gone = AbortSignal.abort(new Error('the caller has left'));
  const engine = { remappedDirectory: () => Promise.reject(new Error('aborted')) };
  const roots = new MappedRoots({ engine, clock: new ManualClock() });
  await expect(roots.current(gone)).rejects.toThrow('the caller has left');
});
