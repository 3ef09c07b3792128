// What the sentinel does next, from what it knows. Pure; no process, no time.
import { describe, expect, test } from '@jest/globals';
import type { Action, View, VolumeView } from '../../../sentinel/plan.ts';
import { needsLook, plan } from '../../../sentinel/plan.ts';
import type { VolumeFence } from '../../../sentinel/volume-fence.ts';
import { openFence } from '../../../sentinel/volume-fence.ts';
import { container, stopped, userView, view, volumeView, watched } from './views.ts';

const done = (actions: readonly Action[]) => actions.map((action) => action.do);
const identity = { device: '7:1', root: '/' };
const fence = (change: Partial<VolumeFence>): VolumeFence => {
  return { ...openFence, identity, ...change };
};
const db = container('db', 'v');
const host = {
  ...{ kind: 'host' as const, key: 'pid 9', volumes: ['v'] },
  process: { pid: 9, started: '1', name: 'rsync' },
};

describe('users whose volume should stand still', () => {
  test('are stopped, the earliest deadline first', () => {
    const late = volumeView('late', { watched: watched('late', { deadlineMs: 20_000 }) });
    const users = [userView(container('b', 'late'), 'running'), userView(db, 'running')];
    const actions = plan(view({ volumes: [late, volumeView('v')], users }));
    expect(actions).toEqual([
      { do: 'stop', user: db, wasPaused: false },
      { do: 'stop', user: container('b', 'late'), wasPaused: false },
    ]);
  });

  test('are held when they are frozen or still freeze, and then shown by the engine', () => {
    const volumes = [volumeView('v', { fence: fence({ phase: 'fenced', stopSinceMs: 9_000 }) })];
    for (const is of ['frozen', 'freezing'] as const) {
      const users = [userView(db, is, { stopped: stopped(db) })];
      const actions = plan(view({ volumes, users }));
      expect(actions[0]).toEqual({ do: 'hold', user: db, wasPaused: false });
    }
    const users = [userView(db, 'held', { stopped: stopped(db) })];
    expect(done(plan(view({ volumes, users })))).toEqual(['show']);
  });

  test('a user with a process that sleeps stays told to freeze, and the volume is not fenced', () => {
    const users = [userView(db, 'freezing', { stopped: stopped(db) })];
    expect(done(plan(view({ volumes: [volumeView('v')], users })))).toEqual(['hold']);
  });

  test('a sleeper in one container releases no other container of the volume', () => {
    const other = container('other', 'v');
    const users = [
      userView(db, 'freezing', { stopped: stopped(db) }),
      userView(other, 'held', { stopped: stopped(other, 'paused') }),
    ];
    expect(done(plan(view({ volumes: [volumeView('v')], users })))).toEqual(['hold', 'show']);
  });

  test('a container that a person had paused is held, and stays paused', () => {
    const volumes = [volumeView('v')];
    const found = plan(view({ volumes, users: [userView(db, 'frozen')] }));
    expect(found[0]).toEqual({ do: 'stop', user: db, wasPaused: true });
    const users = [userView(db, 'held', { stopped: stopped(db, 'persons') })];
    expect(done(plan(view({ volumes, users })))).toEqual(['show', 'enter']);
  });

  test('with on-lost=stop they are killed', () => {
    const volumes = [volumeView('v', { watched: watched('v', { onLost: 'stop' }) })];
    expect(done(plan(view({ volumes, users: [userView(db, 'running')] })))).toEqual(['kill']);
  });

  test('a user of two volumes runs only when both may run', () => {
    const both = container('both', 'v', 'w');
    const users = [userView(both, 'held', { stopped: stopped(both, 'paused') })];
    const running = { wish: 'run', fence: openFence } as const;
    const one = plan(view({ volumes: [volumeView('v', running), volumeView('w')], users }));
    expect(done(one)).not.toContain('release');
    const none = [volumeView('v', running), volumeView('w', running)];
    expect(done(plan(view({ volumes: none, users })))).toEqual(['release']);
  });

  test('a user runs again only after a look for the users of all volumes that may not run', () => {
    const lost = { watched: watched('w', { state: 'lost' }), wish: 'end' } as const;
    const volumes = (stopSinceMs: number | undefined) => [
      volumeView('v', { wish: 'run', fence: openFence }),
      volumeView('w', { ...lost, fence: fence({ fs: 'cut-off', phase: 'ended', stopSinceMs }) }),
    ];
    const users = [userView(db, 'held', { stopped: stopped(db, 'paused') })];
    const released = (change: Partial<View>) =>
      done(plan(view({ volumes: volumes(9_000), users, ...change }))).includes('release');
    const look = { ...{ beganAtMs: 9_200, tookMs: 10, users: [db] }, volumes: new Set(['v']) };
    expect(released({ look })).toBe(false);
    expect(released({ look: undefined })).toBe(false);
    expect(released({ volumes: volumes(9_300) })).toBe(false);
    expect(released({ volumes: volumes(undefined) })).toBe(false);
    expect(released({})).toBe(true);
  });

  test('whom an earlier sentinel held for an unknown volume stays held', () => {
    const unknown = container('old', '?');
    const users = [userView(unknown, 'held', { stopped: stopped(unknown, 'paused') })];
    expect(done(plan(view({ users })))).toEqual(['show']);
  });

  test('processes of the host are left alone, unless the operator allows it', () => {
    const volumes = [volumeView('v')];
    const users = [userView(host, 'running')];
    expect(plan(view({ volumes, users }))).toEqual([]);
    expect(done(plan(view({ volumes, users, fenceHostProcesses: true })))).toEqual(['stop']);
  });
});

describe('a volume is fenced', () => {
  test('when a look that began after everybody stood still found no other', () => {
    const volumes = [volumeView('v')];
    const users = [userView(db, 'held', { stopped: stopped(db, 'paused') })];
    const change = { phase: 'fenced', fencedSinceMs: 9_500 };
    const fenced = { do: 'enter', volume: 'v', change };
    expect(plan(view({ volumes, users })).slice(1)).toEqual([fenced]);
    const early = { beganAtMs: 9_050, tookMs: 10, volumes: new Set(['v']), users: [db] };
    expect(done(plan(view({ volumes, users, look: early })))).toEqual(['show']);
    expect(plan(view({ volumes, users: [], look: undefined }))).toEqual([]);
    const before = { beganAtMs: 8_999, tookMs: 10, volumes: new Set(['v']), users: [] };
    expect(plan(view({ volumes, users: [], look: before }))).toEqual([]);
  });

  test('not while a process of the host uses it', () => {
    const volumes = [volumeView('v')];
    expect(plan(view({ volumes, users: [userView(host, 'running')] }))).toEqual([]);
  });

  test('with a file system of its own only when that is frozen or cut off', () => {
    const own = { watched: watched('v', { ownsFileSystem: true }) };
    const at = (fs: VolumeFence['fs']) =>
      plan(
        view({
          volumes: [
            volumeView('v', {
              ...own,
              fence: fence({ phase: 'preparing', fs, fsSinceMs: 9_000, stopSinceMs: 9_000 }),
            }),
          ],
        }),
      );
    expect(done(at('open'))).toEqual(['freeze']);
    expect(done(at('flushing'))).toEqual(['freeze']);
    expect(done(at('freezing'))).toEqual(['freeze']); // A freeze in progress is not repeated.
    const change = { phase: 'fenced', fencedSinceMs: 9_500 };
    expect(at('frozen')).toEqual([{ do: 'enter', volume: 'v', change }]);
  });

  test('with a file system of its own not before that is mounted: a freeze of nothing means nothing', () => {
    const volumes = [
      volumeView('v', {
        watched: watched('v', { ownsFileSystem: true }),
        fence: fence({ phase: 'preparing', stopSinceMs: 9_000, identity: undefined }),
      }),
    ];
    expect(plan(view({ volumes }))).toEqual([]);
  });

  test('no more when a new user is found', () => {
    const volumes = [volumeView('v', { fence: fence({ phase: 'fenced', stopSinceMs: 9_000 }) })];
    const actions = plan(view({ volumes, users: [userView(db, 'running')] }));
    expect(done(actions)).toEqual(['stop', 'enter']);
    expect(actions[1]).toMatchObject({ change: { phase: 'preparing' } });
  });
});

describe('a file system that is not frozen in time', () => {
  const own = watched('v', { ownsFileSystem: true });
  const freezing = (stopSinceMs: number) =>
    volumeView('v', {
      watched: own,
      fence: fence({ phase: 'preparing', fs: 'freezing', stopSinceMs }),
    });
  const at = (now: number, stopSinceMs: number) =>
    done(plan(view({ now, volumes: [freezing(stopSinceMs)] })));

  test('is shut down in the middle of the margin', () => {
    expect(at(10_499, 9_000)).toEqual(['freeze']);
    expect(at(10_500, 9_000)).toEqual(['cut off']);
  });

  test('has the limit of a freeze when the stop began late', () => {
    expect(at(10_699, 10_200)).toEqual(['freeze']);
    expect(at(10_700, 10_200)).toEqual(['cut off']);
  });

  test('ends its users once it is cut off, even if the lock is proved again', () => {
    const volumes = [
      volumeView('v', {
        watched: own,
        wish: 'end',
        fence: fence({ phase: 'fenced', fs: 'cut-off', stopSinceMs: 9_000 }),
      }),
    ];
    expect(done(plan(view({ volumes, users: [userView(db, 'held')] })))).toEqual(['kill']);
  });
});

describe('a volume whose lock is proved again', () => {
  test('is thawed first; then its users are released', () => {
    const own = watched('v', { ownsFileSystem: true });
    const users = [userView(db, 'held', { stopped: stopped(db, 'paused') })];
    const at = (fs: VolumeFence['fs']) =>
      done(
        plan(
          view({
            users,
            volumes: [
              volumeView('v', { watched: own, wish: 'run', fence: fence({ phase: 'fenced', fs }) }),
            ],
          }),
        ),
      );
    expect(at('frozen')).toEqual(['thaw', 'enter']);
    // A process that was killed meanwhile may have frozen it.
    expect(at('freezing')).toEqual(['thaw', 'enter']);
    expect(at('open')).toEqual(['release', 'enter']);
  });

  test('a frozen file system is not left frozen where the lock was evicted: its users could not die', () => {
    const volumes = [
      volumeView('v', {
        watched: watched('v', { ownsFileSystem: true, state: 'evicted' }),
        ...{ wish: 'end', fence: fence({ phase: 'preparing', fs: 'frozen', stopSinceMs: 9_000 }) },
      }),
    ];
    const users = [userView(db, 'held', { stopped: stopped(db, 'paused') })];
    expect(done(plan(view({ volumes, users })))).toEqual(['thaw', 'kill']);
  });
});

describe('a lost volume', () => {
  const lost = watched('v', { state: 'lost', ownsFileSystem: true });
  test('is cut off, its users are killed, and it has ended when a look finds none', () => {
    const at = (fs: VolumeFence['fs'], users = [userView(db, 'running')]) =>
      plan(
        view({
          users,
          volumes: [
            volumeView('v', {
              ...{ watched: lost, wish: 'end', fence: fence({ fs, stopSinceMs: 9_000 }) },
            }),
          ],
        }),
      );
    expect(done(at('open'))).toEqual(['cut off', 'kill']);
    expect(done(at('cut-off'))).toEqual(['kill']);
    const change = { phase: 'ended', fencedSinceMs: 9_500 };
    expect(at('cut-off', [])).toEqual([{ do: 'enter', volume: 'v', change }]);
    expect(at('open', [])).toEqual([{ do: 'cut off', volume: lost }]);
  });

  test('is fenced while its users stand still and do not end', () => {
    const at = (
      phase: VolumeFence['phase'],
      fs: VolumeFence['fs'],
      standing: 'held' | 'running',
    ) => {
      const stands = fence({ phase, fs, stopSinceMs: 9_000 });
      const volumes = [volumeView('v', { watched: lost, wish: 'end', fence: stands })];
      return plan(view({ volumes, users: [userView(db, standing)] })).filter(isEnter);
    };
    const isEnter = (action: Action) => action.do === 'enter';
    const fenced = { phase: 'fenced', fencedSinceMs: 9_500 };
    expect(at('preparing', 'cut-off', 'held')).toMatchObject([{ change: fenced }]);
    expect(at('fenced', 'cut-off', 'held')).toEqual([]);
    expect(at('preparing', 'frozen', 'held')).toEqual([]);
    expect(at('fenced', 'cut-off', 'running')).toMatchObject([{ change: { phase: 'preparing' } }]);
  });

  test('has not ended while nobody has looked since it was lost', () => {
    const news = volumeView('v', { watched: watched('v', { state: 'lost' }), fence: openFence });
    const change = { phase: 'preparing', stopSinceMs: 9_500 };
    const enter = { do: 'enter', volume: 'v', change };
    expect(plan(view({ volumes: [{ ...news, wish: 'end' }] }))).toEqual([enter]);
    const fenced = fence({ phase: 'preparing', stopSinceMs: 9_300 }); // The look began at 9,200.
    expect(plan(view({ volumes: [{ ...news, wish: 'end', fence: fenced }] }))).toEqual([]);
  });

  test('that was evicted is cut off when its deadline passes', () => {
    const evicted = watched('v', { state: 'evicted', ownsFileSystem: true });
    const volumes = [
      volumeView('v', {
        watched: evicted,
        ...{ wish: 'end', fence: fence({ phase: 'ended', stopSinceMs: 9_000 }) },
      }),
    ];
    expect(plan(view({ volumes, now: 9_999 }))).toEqual([]);
    expect(plan(view({ volumes, now: 10_000 }))).toEqual([{ do: 'cut off', volume: evicted }]);
  });
});

describe('before the lead', () => {
  test('cached data are written back once, and the containers are asked to stop with on-lost=stop', () => {
    const first = volumeView('v', { wish: 'prepare', fence: openFence });
    expect(done(plan(view({ volumes: [first] })))).toEqual(['flush', 'enter']);
    const later = volumeView('v', { wish: 'prepare', fence: fence({ phase: 'preparing' }) });
    expect(plan(view({ volumes: [later] }))).toEqual([]);
    const asking = volumeView('v', {
      watched: watched('v', { onLost: 'stop' }),
      ...{ wish: 'ask', fence: fence({ phase: 'preparing' }) },
    });
    const users = [userView(db, 'running')];
    expect(done(plan(view({ volumes: [asking], users })))).toEqual(['ask', 'enter']);
    expect(plan(view({ volumes: [asking], users, look: undefined }))).toEqual([]);
  });
});

test('while a process sleeps no look can complete the fence, but in a file system that is frozen', () => {
  const users = [userView(db, 'freezing', { stopped: stopped(db), stillSinceMs: undefined })];
  const look = { ...{ beganAtMs: 9_200, tookMs: 10, users: [db] }, volumes: new Set(['v']) };
  const needs = (fs: VolumeFence['fs'], ownsFileSystem: boolean) => {
    const change = { fence: fence({ fs, stopSinceMs: 9_300 }) };
    const volume = volumeView('v', { watched: watched('v', { ownsFileSystem }), ...change });
    return needsLook(volume, view({ volumes: [volume], users, look }));
  };
  expect([needs('open', false), needs('freezing', true)]).toEqual([false, false]);
  expect(needs('frozen', true)).toBe(true);
});

test('a lost volume has not ended any more when a container starts that was granted it before', () => {
  const ended = fence({ fs: 'cut-off', phase: 'ended', stopSinceMs: 9_000 });
  const lost = { watched: watched('v', { state: 'lost' }), wish: 'end', fence: ended } as const;
  const users = [userView(db, 'running')];
  expect(done(plan(view({ volumes: [volumeView('v', lost)], users })))).toEqual(['kill', 'enter']);
});

describe('users whose volume is copied', () => {
  const copied = (change: Partial<VolumeView> = {}) =>
    volumeView('v', { wish: 'copy', watched: watched('v', { onLost: 'stop' }), ...change });

  test('are stopped and held whatever on-lost says, and their engine hears nothing of it', () => {
    const running = [userView(db, 'running')];
    expect(plan(view({ volumes: [copied()], users: running }))).toEqual([
      { do: 'stop', user: db, wasPaused: false, isForCopy: true },
    ]);
    const frozen = [userView(db, 'frozen', { stopped: stopped(db) })];
    expect(done(plan(view({ volumes: [copied()], users: frozen })))).toEqual(['hold', 'enter']);
    const held = [userView(db, 'held', { stopped: stopped(db) })];
    const change = { phase: 'fenced', fencedSinceMs: 9_500 };
    expect(plan(view({ volumes: [copied()], users: held }))).toEqual([
      { do: 'enter', volume: 'v', change },
    ]);
  });

  test('have not stood still without a gap when one of them is seen to run', () => {
    const fenced = fence({ phase: 'fenced', stopSinceMs: 9_000, fencedSinceMs: 9_300 });
    const users = [userView(db, 'running', { stopped: stopped(db) })];
    const actions = plan(view({ volumes: [copied({ fence: fenced })], users }));
    expect(actions).toContainEqual({
      ...{ do: 'enter', volume: 'v' },
      change: { phase: 'preparing', fencedSinceMs: undefined },
    });
  });

  test('are shown and killed as ever when the deadline of another volume comes', () => {
    const both = container('both', 'v', 'w');
    const users = [userView(both, 'held', { stopped: stopped(both) })];
    expect(done(plan(view({ volumes: [copied(), volumeView('w')], users })))).toContain('show');
  });

  test('run again when the copy is made', () => {
    const volumes = [copied({ wish: 'run' })];
    const users = [userView(db, 'held', { stopped: stopped(db) })];
    expect(done(plan(view({ volumes, users })))).toContain('release');
  });
});
