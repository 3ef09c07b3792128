// How a container is found that was started after a long look had begun. The scan is played.
import { expect, test } from '@jest/globals';
import { Looks } from '../../../sentinel/looks.ts';
import type { MachineClock, User, UserScan } from '../../../sentinel/ports.ts';
import { eventually } from '../../support/eventually.ts';
import { container, watched } from './views.ts';

const [old, late] = [container('old', 'db'), container('late', 'db')];
const volumes = [watched('db')];
const near = { pauseMs: 0, measures: false };

function playedLooks() {
  let now = 0;
  let there: readonly User[] = [old];
  const ends: (() => void)[] = [];
  const scan: Pick<UserScan, 'users' | 'plainUsers'> = {
    users: (_, onFound) => {
      onFound?.(there);
      const found = there;
      return new Promise((resolve) => ends.push(() => resolve(found)));
    },
    plainUsers: async () => there,
  };
  const clock = { now: () => now };
  const looks = new Looks(scan as UserScan, clock as MachineClock);
  return {
    looks,
    keys: () => [...new Set(looks.users.map(({ key }) => key))],
    begin: (atMs: number, how = near) => {
      now = atMs;
      looks.begin(volumes, how, () => {});
    },
    start: () => {
      there = [old, late];
    },
    end: () => ends.shift()?.(),
  };
}

test('a container that was started during a long look is found before its end, and not forgotten then', async () => {
  const { begin, start, end, keys, looks } = playedLooks();
  begin(0, { pauseMs: 60_000, measures: true });
  start();
  begin(400);
  await eventually(async () => expect(keys()).toEqual(['old']));
  begin(600);
  await eventually(async () => expect(keys()).toEqual(['old', 'late']));
  end();
  await eventually(async () => expect(looks.last?.users).toEqual([old]));
  expect(keys()).toEqual(['old', 'late']);
});

test('who was found beside a look counts no more after one that began later', async () => {
  const { begin, start, end, keys, looks } = playedLooks();
  begin(0);
  start();
  begin(600);
  await eventually(async () => expect(keys()).toEqual(['old', 'late']));
  end();
  await eventually(async () => expect(looks.last?.beganAtMs).toBe(0));
  begin(700);
  end();
  await eventually(async () => expect(looks.last?.beganAtMs).toBe(700));
  expect(looks.users).toEqual([old, late]);
});

test('nothing is looked for beside a look while no deadline is near', async () => {
  const { begin, start, keys } = playedLooks();
  begin(0);
  start();
  begin(5_000, { pauseMs: 60_000, measures: true });
  await eventually(async () => expect(keys()).toEqual(['old']));
});
