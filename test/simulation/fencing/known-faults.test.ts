// The faults that trials on real hosts have found, each as a scenario that the sentinel must survive
// whatever the delays are. Machines, engines, daemons and the store are simulated.
import { describe, expect, test } from '@jest/globals';
import { Sentinel } from '../../../sentinel/sentinel.ts';
import { violationsOf } from './check-history.ts';
import type { Command, RunCommand, Scenario } from './commands.ts';
import type { HistoryEvent } from './history.ts';
import { simulate } from './simulation.ts';

const seeds = Array.from({ length: 8 }, (_, index) => index + 1);

const run = (change: Partial<RunCommand> = {}): RunCommand => ({
  ...{ kind: 'run', atMs: 0, host: 0, volumes: ['share'], tasks: 2, count: 1 },
  ...change,
});
/** Another host wants the volumes as soon as it can have them. */
const rival = (change: Partial<RunCommand> = {}) => run({ atMs: 5_000, host: 1, ...change });
/** The first host can't reach the store for long after its leases have expired. */
const cutOff: Command = { kind: 'cut off', atMs: 4_000, host: 0, ms: 12_000 };

/** Plays the commands with several seeds; returns the histories, and expects that each keeps all laws. */
async function survives(commands: readonly Command[], change: Partial<Scenario> = {}) {
  const histories: HistoryEvent[][] = [];
  for (const seed of seeds) {
    const scenario = { seed, ttlMs: 6_000, fenceHostProcesses: false, commands, ...change };
    const history = await simulate(scenario, (ports) => new Sentinel(ports));
    expect({ seed, violations: violationsOf(history) }).toEqual({ seed, violations: [] });
    histories.push(history);
  }
  // The scenario is about a host that has lost its lease.
  expect(histories.every((history) => history.some(({ kind }) => kind === 'removed'))).toBe(true);
  return histories;
}

/** Returns true if every history has such an event. */
function allHave(histories: HistoryEvent[][], is: (event: HistoryEvent) => boolean): boolean {
  return histories.every((history) => history.some(is));
}

describe('a host that has lost its lease writes no more', () => {
  test('with a process in uninterruptible sleep in one of two containers (faults 2)', () =>
    survives([
      ...[run({ count: 2 }), cutOff, rival()],
      { kind: 'sleep', atMs: 5_000, host: 0, volume: 'share', ms: 9_000 },
    ]));

  test('when the table of mounts is lost and another volume is mounted (faults 3)', async () => {
    const histories = await survives([
      ...[run(), rival({ atMs: 2_000 }), run({ atMs: 14_000, volumes: ['logs'] })],
      { kind: 'lose table', atMs: 4_000, host: 0, ms: 9_000 },
    ]);
    expect(
      allHave(
        histories,
        ({ kind, ...event }) => kind === 'granted' && 'host' in event && event.host === 'n2',
      ),
    ).toBe(true);
  });

  test('while an engine copies to a container, and through a sidecar (faults 4, B3)', () =>
    survives([
      ...[run(), cutOff, rival()],
      { kind: 'use', atMs: 3_500, host: 0, by: 'engine', volume: 'share', ms: 14_000 },
      { kind: 'use', atMs: 3_600, host: 0, by: 'sidecar', volume: 'share', ms: 14_000 },
    ]));

  test('after the whole machine stood still, which its time of day shows (faults 6)', () =>
    survives([
      ...[run(), run({ volumes: ['disk'] }), rival({ volumes: ['share', 'disk'] })],
      { kind: 'pause machine', atMs: 3_000, host: 0, sight: 'time of day', ms: 8_000 },
      { kind: 'cut off', atMs: 3_000, host: 0, ms: 16_000 },
    ]));

  test('after that, when the sentinel is killed before it has noticed (faults 6)', () =>
    survives([
      ...[run(), rival()],
      { kind: 'pause machine', atMs: 3_000, host: 0, sight: 'time of day', ms: 4_000 },
      { kind: 'cut off', atMs: 3_000, host: 0, ms: 16_000 },
      { kind: 'kill sentinel', atMs: 7_000, host: 0, state: 'kept', steps: 0 },
    ]));

  test.each([4_000, 6_000, 10_000])(
    'with 100 containers at one deadline, TTL %d ms (faults 8, F0)',
    (ttlMs) => survives([run({ count: 100 }), cutOff, rival()], { ttlMs }),
  );

  test('with so many processes that a scan takes long, TTL 4 s (B6, B7)', () =>
    survives(
      [
        ...[run({ count: 3 }), run({ volumes: ['disk'] }), cutOff],
        rival({ volumes: ['share', 'disk'] }),
        { kind: 'crowd', atMs: 2_500, host: 0, ms: 20_000 },
      ],
      { ttlMs: 4_000 },
    ));

  test('with a person who unpauses and starts again what stands still (B5)', async () => {
    const does = ['pause', 'exec', 'unpause', 'pause', 'restart', 'unpause', 'stop'] as const;
    const histories = await survives([
      ...[run({ count: 2 }), cutOff],
      ...does.map(
        (each, index): Command => ({
          ...{
            kind: 'person',
            atMs: 10_500 + 700 * index,
            host: 0,
            container: index % 3 === 1 ? 1 : 0,
          },
          does: each,
        }),
      ),
    ]);
    expect(allHave(histories, (event) => event.kind === 'person')).toBe(true);
  });

  test('with an engine that hangs (B5)', () =>
    survives([
      ...[run({ count: 5 }), run({ volumes: ['logs'] }), cutOff, rival()],
      { kind: 'hang engine', atMs: 3_000, host: 0, ms: 9_000 },
    ]));

  test('when containers that had to be killed run again, and are killed again, by an engine that hangs', () =>
    survives(
      [
        run({ volumes: ['share', 'logs'], count: 2 }),
        { kind: 'freeze sentinel', atMs: 3_808, host: 0, ms: 7_443 },
        { kind: 'hang engine', atMs: 6_816, host: 0, ms: 12_993 },
        { kind: 'cut off', atMs: 7_434, host: 0, ms: 10_375 },
      ],
      { ttlMs: 4_000 },
    ));

  test('when 75 that must be killed wait for an engine that hangs, and resumes one that it was asked for before', () =>
    survives(
      [
        run({ count: 75 }),
        { kind: 'set time of day', atMs: 2_909, host: 0, byMs: 3_641_971 },
        { kind: 'hang engine', atMs: 5_000, host: 0, ms: 6_589 },
        { kind: 'evict', atMs: 9_937, host: 0, volume: 'share' },
      ],
      { ttlMs: 4_000 },
    ));

  test('with a disk that takes long to write back (0a)', async () => {
    const histories = await survives([
      ...[run({ volumes: ['disk'] }), cutOff, rival({ volumes: ['disk'] })],
      { kind: 'slow disk', atMs: 2_000, host: 0, volume: 'disk', ms: 12_000 },
    ]);
    expect(
      allHave(histories, (event) => event.kind === 'file system' && event.is === 'cut off'),
    ).toBe(true);
  });

  test('when the clock jumps after an operator cleared the lock, and nobody renews it', () =>
    survives([
      ...[run({ volumes: ['disk'] }), rival({ volumes: ['disk'] })],
      { kind: 'evict', atMs: 3_000, host: 0, volume: 'disk' },
      { kind: 'freeze daemon', atMs: 3_050, host: 0, ms: 14_000 },
      { kind: 'pause machine', atMs: 3_400, host: 0, sight: 'time of day', ms: 4_000 },
    ]));

  test('when a container starts whose Mount was granted before the loss, and it can not die', () =>
    survives([
      ...[run({ volumes: ['disk'] }), run({ atMs: 300, host: 1, volumes: ['logs', 'disk'] })],
      run({ atMs: 1_000, volumes: ['disk', 'logs'], count: 2 }),
      { kind: 'cut off', atMs: 5_320, host: 0, ms: 8_726 },
      { kind: 'hung storage', atMs: 12_000, host: 0, volume: 'logs', ms: 11_938 },
    ]));

  test('when its daemon is frozen after an operator cleared the lock', () =>
    survives([
      ...[run({ volumes: ['disk'] }), rival({ volumes: ['disk'] })],
      { kind: 'evict', atMs: 3_000, host: 0, volume: 'disk' },
      { kind: 'freeze daemon', atMs: 3_050, host: 0, ms: 12_000 },
    ]));
});

describe('nothing is stuck', () => {
  // At the second time the host reaches the store again before its new sentinel gets a watch.
  test.each([11_000, 15_900])(
    'when the state of the sentinel is lost at %d ms, while containers stand still (faults 7)',
    (atMs) =>
      survives([
        ...[run(), run({ volumes: ['disk'] }), cutOff],
        { kind: 'kill sentinel', atMs, host: 0, state: 'garbage', steps: 0 },
      ]),
  );

  test('when its state is lost while it can not look for what it holds', () =>
    survives([
      ...[run(), cutOff],
      { kind: 'blind scan', atMs: 10_500, host: 0, ms: 6_000 },
      { kind: 'kill sentinel', atMs: 11_000, host: 0, state: 'lost', steps: 0 },
      { kind: 'set time of day', atMs: 18_000, host: 2, byMs: 0 },
    ]));

  test('when an engine that hung pauses containers after they were released', () =>
    survives([
      ...[run({ count: 3 }), cutOff],
      { kind: 'hang engine', atMs: 7_000, host: 0, ms: 10_500 },
      { kind: 'set time of day', atMs: 21_000, host: 2, byMs: 0 },
    ]));

  test.each([0, 40, 150, 400, 1_200])(
    'when the sentinel is killed %d calls after its host holds its volumes again',
    (steps) =>
      survives([
        ...[run({ count: 20 }), cutOff],
        { kind: 'kill sentinel', atMs: 16_000, host: 0, state: 'kept', steps },
      ]),
  );

  // Rare ones, which a long search has found: each replays with its own seed.
  test.each<[string, Scenario]>([
    [
      'when the state is lost of a sentinel that has released a container and not told its engine',
      {
        ...{ seed: -679_991_956, ttlMs: 6_000, fenceHostProcesses: false },
        commands: [
          run({ atMs: 289, tasks: 1, count: 7 }),
          { kind: 'set time of day', atMs: 15_000, host: 0, byMs: 30_926_351 },
          { kind: 'kill daemon', atMs: 11_000, host: 0, ms: 678 },
          { kind: 'kill sentinel', atMs: 17_818, host: 0, state: 'garbage', steps: 0 },
          { kind: 'freeze sentinel', atMs: 11_917, host: 0, ms: 6_246 },
        ],
      },
    ],
    [
      'when a file system is frozen whose mount is found after the table and the state are lost',
      {
        ...{ seed: 2, ttlMs: 4_000, fenceHostProcesses: false },
        commands: [
          run({ volumes: ['disk'], tasks: 1 }),
          { kind: 'person', atMs: 12_554, host: 0, does: 'unpause', container: 1 },
          { kind: 'freeze sentinel', atMs: 9_476, host: 0, ms: 1_313 },
          { kind: 'lose table', atMs: 8_247, host: 0, ms: 1_015 },
          { kind: 'kill sentinel', atMs: 11_000, host: 0, state: 'garbage', steps: 0 },
        ],
      },
    ],
    [
      'when an engine that hung answers for a moment before it carries out its late pauses',
      {
        ...{ seed: 1, ttlMs: 4_000, fenceHostProcesses: false },
        commands: [
          run({ tasks: 1, count: 3 }),
          { kind: 'cut off', atMs: 6_000, host: 0, ms: 2_500 },
          // It ends while the third question after the release waits for its answer.
          { kind: 'hang engine', atMs: 3_000, host: 0, ms: 13_600 },
        ],
      },
    ],
    [
      'when a person pauses a container between the plan that stops it and the freeze',
      {
        ...{ seed: -851_432_930, ttlMs: 4_000, fenceHostProcesses: true },
        commands: [
          run({ volumes: ['logs'], tasks: 1 }),
          run({ atMs: 4_257, volumes: ['logs'], tasks: 1, count: 5 }),
          run({ atMs: 1_997, volumes: ['disk'], tasks: 1 }),
          run({ atMs: 1_575, volumes: ['disk', 'share'], tasks: 1, count: 3 }),
          { kind: 'person', atMs: 14_000, host: 0, does: 'pause', container: 2 },
          { kind: 'pause machine', atMs: 9_368, host: 0, sight: 'counted', ms: 10_432 },
        ],
      },
    ],
    [
      'when a process of the engine was there before a crowd',
      {
        ...{ seed: -584_892_496, ttlMs: 4_000, fenceHostProcesses: true },
        commands: [
          run({ atMs: 668, volumes: ['logs'], tasks: 1 }),
          { kind: 'use', atMs: 8_000, host: 0, by: 'engine', volume: 'logs', ms: 9_390 },
          { kind: 'crowd', atMs: 13_921, host: 0, ms: 1_879 },
          { kind: 'lose table', atMs: 12_559, host: 0, ms: 8_363 },
        ],
      },
    ],
    [
      'when a process of the host was there before a crowd',
      {
        ...{ seed: -1_246_953_152, ttlMs: 6_000, fenceHostProcesses: true },
        commands: [
          run({ atMs: 0, volumes: ['share'], tasks: 1 }),
          { kind: 'cut off', atMs: 8_000, host: 0, ms: 11_270 },
          { kind: 'crowd', atMs: 9_000, host: 0, ms: 1_253 },
          { kind: 'use', atMs: 7_000, host: 0, by: 'host', volume: 'share', ms: 10_326 },
        ],
      },
    ],
    [
      'when a disk is slow and the engine hangs, so that its user does not end',
      {
        ...{ seed: 1_661_750_419, ttlMs: 6_000, fenceHostProcesses: false },
        commands: [
          run({ atMs: 0, volumes: ['disk'], tasks: 1 }),
          { kind: 'freeze daemon', atMs: 11_000, host: 0, ms: 10_550 },
          { kind: 'slow disk', atMs: 7_000, host: 0, volume: 'disk', ms: 12_345 },
          { kind: 'hang engine', atMs: 15_490, host: 0, ms: 13_599 },
        ],
      },
    ],
    [
      'when one volume was evicted before the deadline of another, and each look takes long',
      {
        ...{ seed: 1, ttlMs: 4_000, fenceHostProcesses: false },
        commands: [
          run({ volumes: ['logs'], tasks: 1 }),
          run({ tasks: 1 }),
          { kind: 'use', atMs: 5_000, host: 0, by: 'engine', volume: 'share', ms: 20_000 },
          // A look that finds the engine's process.
          { kind: 'copy', atMs: 9_000, host: 0, volume: 'share', ms: 500 },
          { kind: 'use', atMs: 9_847, host: 0, by: 'host', volume: 'logs', ms: 14_916 },
          { kind: 'evict', atMs: 12_059, host: 0, volume: 'logs' },
          { kind: 'crowd', atMs: 13_600, host: 0, ms: 9_000 },
          { kind: 'freeze daemon', atMs: 13_000, host: 0, ms: 7_312 },
        ],
      },
    ],
    [
      'when a person pauses a container between its freeze and its hold',
      {
        ...{ seed: -1_787_864_312, ttlMs: 4_000, fenceHostProcesses: false },
        commands: [
          run({ volumes: ['disk'], tasks: 1, count: 5 }),
          { kind: 'pause machine', atMs: 15_000, host: 0, sight: 'counted', ms: 1_432 },
          { kind: 'person', atMs: 16_318, host: 0, does: 'pause', container: 0 },
          { kind: 'pause machine', atMs: 13_000, host: 0, sight: 'time of day', ms: 12_304 },
        ],
      },
    ],
    [
      'when a disk is slow after the machine stood still',
      {
        ...{ seed: 463_451_780, ttlMs: 10_000, fenceHostProcesses: false },
        commands: [
          run({ volumes: ['disk'], tasks: 1 }),
          { kind: 'pause machine', atMs: 4_558, host: 0, sight: 'counted', ms: 13_407 },
          { kind: 'kill daemon', atMs: 17_000, host: 0, ms: 8_000 },
          { kind: 'slow disk', atMs: 18_000, host: 0, volume: 'disk', ms: 1_523 },
        ],
      },
    ],
    [
      'when a container is started again before its engine carries out a pause that it was asked for before',
      {
        ...{ seed: -1_216_871_084, ttlMs: 6_000, fenceHostProcesses: false },
        commands: [
          run({ tasks: 1 }),
          { kind: 'person', atMs: 15_275, host: 0, does: 'restart', container: 1 },
          { kind: 'hang engine', atMs: 14_000, host: 0, ms: 12_876 },
          { kind: 'cut off', atMs: 14_000, host: 0, ms: 11_472 },
          run({ atMs: 461, volumes: ['disk'], tasks: 1, count: 5 }),
        ],
      },
    ],
    [
      'when 120 others that are killed wait in a frozen file system and do not end',
      {
        ...{ seed: -1_632_851_200, ttlMs: 4_000, fenceHostProcesses: false },
        commands: [
          run({ tasks: 1 }),
          { kind: 'lose table', atMs: 5_310, host: 0, ms: 12_702 },
          run({ atMs: 2_475, volumes: ['disk', 'logs'], tasks: 1, count: 120 }),
          { kind: 'use', atMs: 12_451, host: 0, by: 'sidecar', volume: 'logs', ms: 10_267 },
          { kind: 'blind scan', atMs: 1_179, host: 0, ms: 5_904 },
        ],
      },
    ],
  ])('%s', async (_, scenario) => {
    const history = await simulate(scenario, (ports) => new Sentinel(ports));
    expect(violationsOf(history)).toEqual([]);
  });

  test('and 100 containers run again before their engine has resumed twenty of them', async () => {
    const histories = await survives([run({ count: 100 }), cutOff]);
    for (const history of histories) {
      const users = new Set(
        history.flatMap((event) => (event.kind === 'let run' ? event.user : [])),
      );
      expect(users.size).toBe(100);
      const firsts = [...users].map((user) =>
        history.findIndex((event) => event.kind === 'let run' && event.user === user),
      );
      const before = history.slice(0, Math.max(...firsts));
      const resumed = before.filter(({ kind, ...event }) => {
        return kind === 'engine' && 'does' in event && event.does === 'unpause';
      });
      expect(resumed.length).toBeLessThan(20);
    }
  });

  test('when a daemon is killed or frozen while the users of a volume stand still for a copy', async () => {
    for (const kind of ['kill daemon', 'freeze daemon'] as const) {
      for (const atMs of [5_030, 5_100]) {
        const scenario: Scenario = {
          ...{ seed: 7, ttlMs: 10_000, fenceHostProcesses: false },
          commands: [
            run({ count: 2 }),
            { kind: 'copy', atMs: 5_000, host: 0, volume: 'share', ms: 2_000 },
            { kind, atMs, host: 0, ms: 3_500 },
          ],
        };
        const history = await simulate(scenario, (ports) => new Sentinel(ports));
        expect(violationsOf(history)).toEqual([]);
        // By the sentinel alone, long before a deadline.
        const released = history.filter((event) => event.kind === 'let run').map(({ at }) => at);
        expect(released.length).toBeGreaterThanOrEqual(2);
        expect(Math.min(...released)).toBeLessThan(7_500);
      }
    }
  });

  test('and what a person had paused stays paused', async () => {
    const histories = await survives([
      ...[run({ count: 2 }), cutOff],
      { kind: 'person', atMs: 3_000, host: 0, container: 0, does: 'pause' },
    ]);
    expect(allHave(histories, (event) => event.kind === 'person')).toBe(true);
  });
});

test('a healthy host is left alone: nobody is stopped, and nothing is written back (F1)', async () => {
  const commands: Command[] = [
    run({ volumes: ['disk', 'share'], count: 2 }),
    { kind: 'set time of day', atMs: 15_000, host: 2, byMs: 0 },
  ];
  for (const [seed, ttlMs] of [4_000, 6_000, 10_000].entries()) {
    const scenario = { seed, ttlMs, fenceHostProcesses: false, commands };
    const history = await simulate(scenario, (ports) => new Sentinel(ports));
    expect(violationsOf(history)).toEqual([]);
    const isTouched = (event: HistoryEvent) =>
      event.kind === 'stopped' || (event.kind === 'file system' && event.is !== 'open');
    expect(history.filter(isTouched)).toEqual([]);
  }
});
