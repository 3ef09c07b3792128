// What the doctor does about containers that stand still although nothing watches them: fakes of the
// control groups, the engine and the sentinel, on a manual clock.
import { beforeEach, expect, test } from '@jest/globals';
import type { HeldGroup } from '../../../../../lib/linux/held-groups.ts';
import { HeldDoctor } from '../../../../../lib/volumes/doctor/held.ts';
import { ManualClock } from '../../../../support/manual-clock.ts';
import { mountRow } from '../../../../support/mount-row.ts';

const { signal } = new AbortController();
const id = 'a'.repeat(64);
const group: HeldGroup = {
  ...{ path: `/sys/fs/cgroup/docker/${id}/berth-held`, version: 2, container: id, pids: [7] },
  since: new Date('2026-01-02T03:04:05Z'),
};

let clock: ManualClock;
let groups: HeldGroup[];
let volumes: string[] | undefined;
let locks: Map<string, 'held' | 'unproven'>;
let stopped: Set<string> | undefined;
let done: string[];
let isOurs: boolean;

beforeEach(() => {
  clock = new ManualClock();
  groups = [group];
  volumes = ['db'];
  locks = new Map();
  stopped = new Set();
  done = [];
  isOurs = true;
});

async function examine(fix: boolean) {
  const end = (what: string) => async () => {
    done.push(what);
    groups = [];
  };
  const doctor = new HeldDoctor({
    held: {
      find: async () => groups,
      isOfThisHost: async () => isOurs,
      release: end('released'),
      end: end('ended'),
    },
    engine: {
      inspect: async () => volumes && { name: 'w1', volumes },
      unpause: async () => {
        done.push('unpaused');
      },
    },
    mounts: {
      get: (volume) => (locks.has(volume) ? mountRow(volume) : undefined),
      lockState: (volume) => locks.get(volume) ?? 'lost',
    },
    fence: { stoppedVolumes: () => stopped },
    clock,
  });
  const outcome = doctor.examine({ fix, deletions: new Set(), signal });
  await clock.pass(10_000);
  return await outcome;
}

test('a container whose mount is not known here any more is found, with the command, and ended by a fix', async () => {
  expect(await examine(false)).toEqual([
    expect.objectContaining({
      ...{ kind: 'held-container', what: 'container w1 (aaaaaaaaaaaa)', state: 'found' },
      since: '2026-01-02T03:04:05.000Z',
      next: [expect.stringContaining(`kill -9 $(cat ${group.path}/cgroup.procs)`)],
    }),
  ]);
  expect(done).toEqual([]);
  expect(await examine(true)).toMatchObject([{ state: 'fixed' }]);
  expect(done).toEqual(['ended']);
});

test('a container whose volumes are all held here is released', async () => {
  locks.set('db', 'held');
  expect(await examine(true)).toMatchObject([{ state: 'fixed', fix: 'lets it run' }]);
  expect(done).toEqual(['released', 'unpaused']);
});

test('a container of several volumes is ended if one of them is not held here', async () => {
  volumes = ['db', 'log'];
  locks.set('db', 'held');
  await examine(true);
  expect(done).toEqual(['ended']);
});

test.each<[what: string, change: () => void]>([
  ['for whose volume the sentinel has users stand still', () => (stopped = new Set(['db']))],
  ['while the sentinel can not be asked', () => (stopped = undefined)],
  [
    'without volumes of its own, while others stand still',
    () => {
      volumes = [];
      stopped = new Set(['other']);
    },
  ],
  [
    'of another host',
    () => {
      volumes = undefined;
      isOurs = false;
    },
  ],
])('a container %s is left alone', async (_what, change) => {
  change();
  expect(await examine(true)).toEqual([]);
  expect(done).toEqual([]);
});

test('a container that the engine does not know is found, and left to a person', async () => {
  volumes = undefined;
  expect(await examine(true)).toMatchObject([{ state: 'found', what: 'container aaaaaaaaaaaa' }]);
  expect(done).toEqual([]);
});

test('a container that is released meanwhile is no finding', async () => {
  void clock.sleep(1_000).then(() => {
    groups = [];
  });
  expect(await examine(true)).toEqual([]);
});
