import { setImmediate as turn } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { EngineRefusalError } from '../../../sentinel/engine-calls.ts';
import type { EngineCalls, MachineClock, Stops, User } from '../../../sentinel/ports.ts';
import { UserControl } from '../../../sentinel/user-control.ts';

const user: User = {
  ...{ kind: 'container', key: '/docker/c', id: 'c', volumes: ['v'] },
  group: { path: '/docker/c', version: 1 },
};

/** A machine with one container, which its engine shows as paused; each wait passes its time. */
function machine(engineNeedsMs: number) {
  let now = 0;
  const did: string[] = [];
  let inspected = 0;
  const askedMs: number[] = [];
  const state = { isFrozen: false, isPaused: true, isSignalled: false };
  const wait = async (ms: number, signal?: AbortSignal) => {
    const end = now + ms;
    while (now < end && !signal?.aborted) {
      now += 1;
      await turn();
    }
  };
  const clock: Pick<MachineClock, 'now' | 'sleep'> = { now: () => now, sleep: wait };
  const call = async (limitMs: number, work: () => void) => {
    await wait(Math.min(limitMs, engineNeedsMs));
    if (engineNeedsMs > limitMs) throw new Error('no answer');
    work();
  };
  const engine: EngineCalls = {
    inspect: async (_, limitMs) => {
      await call(limitMs, () => {
        inspected += 1;
      });
      return { name: 'c', isPaused: state.isPaused, isRunning: true };
    },
    pause: async (_, limitMs) => {
      askedMs.push(now);
      await call(limitMs, () => did.push('engine: pause'));
    },
    unpause: (_, limitMs) =>
      call(limitMs, () => {
        if (!state.isFrozen) throw new EngineRefusalError(500, 'Container c is not paused');
        state.isPaused = false;
        did.push('engine: unpause');
      }),
    stop: async () => {},
    kill: async (_, limitMs) => {
      askedMs.push(now);
      await call(limitMs, () => {
        state.isSignalled = true;
        did.push('engine: kill');
      });
      // An engine waits for the end of what it has killed.
      await wait(limitMs);
    },
  };
  const stops: Stops = {
    standing: async () => ({ is: 'held' }),
    freeze: async () => {
      state.isFrozen = true;
      return 'frozen';
    },
    hold: async () => 'held',
    release: async () => {
      state.isFrozen = false;
    },
    forget: async () => true,
    isBeingKilled: async () => state.isSignalled,
    isDying: async () => false,
    kill: async () => {
      did.push('kernel: kill');
    },
  };
  return {
    control: new UserControl(stops, engine, clock),
    did,
    state,
    pass: wait,
    now: () => now,
    inspected: () => inspected,
    askedMs,
  };
}

const wanted = () => true;

test('a container is killed in the kernel only when its busy engine has sent its signal', async () => {
  const { control, did, now } = machine(1_000);
  await control.kill(user);
  expect(did).toEqual(['engine: kill', 'kernel: kill']);
  expect(now()).toBeLessThan(2_000);
});

test('a container whose engine hangs is killed all the same, and the next one sooner', async () => {
  const { control, did, now } = machine(60_000);
  await control.kill(user);
  expect(did).toEqual(['kernel: kill']);
  const firstMs = now();
  await control.kill(user);
  expect(now() - firstMs).toBeLessThan(firstMs / 2);
});

test('an engine resumes a container that was released, which stands still only meanwhile', async () => {
  const { control, did, state } = machine(30);
  expect(await control.showReleased(user, wanted)).toBe(true);
  expect(did).toEqual(['engine: unpause']);
  expect(state).toMatchObject({ isFrozen: false, isPaused: false });
});

test('a container runs again when its engine does not resume it', async () => {
  const { control, state } = machine(60_000);
  expect(await control.showReleased(user, wanted)).toBe(false);
  expect(state.isFrozen).toBe(false);
});

test('an engine that did not answer is asked less and less often', async () => {
  const { control, pass, now } = machine(60_000);
  const askedMs: number[] = [];
  while (askedMs.length < 4) {
    const beforeMs = now();
    await control.showReleased(user, wanted);
    if (now() > beforeMs) askedMs.push(beforeMs);
    await pass(100);
  }
  const [first = 0, second = 0, third = 0] = askedMs
    .slice(1)
    .map((ms, at) => ms - (askedMs[at] ?? 0));
  expect(second).toBeGreaterThan(first);
  expect(third).toBeGreaterThan(second);
});

/** Returns the pauses between moments. */
const pauses = (moments: readonly number[]) =>
  moments.slice(1).map((ms, at) => ms - (moments[at] ?? 0));

test('an engine is asked again to kill what does not end after its answer, and later each time', async () => {
  const { control, askedMs, did, pass, now } = machine(30);
  while (now() < 30_000) {
    await control.kill(user);
    await pass(200);
  }
  // Each request is answered after 5 s.
  expect(Math.min(...pauses(askedMs))).toBeGreaterThanOrEqual(5_000);
  expect(askedMs.length).toBeLessThanOrEqual(5);
  expect(did.filter((what) => what === 'kernel: kill').length).toBeGreaterThan(50);
  control.startAgain(user);
  const before = askedMs.length;
  await control.kill(user);
  expect(askedMs).toHaveLength(before + 1);
});

test('an engine that hangs is asked less and less often to pause, and at once after a release', async () => {
  const { control, askedMs, pass, now } = machine(60_000);
  while (now() < 30_000) {
    await control.show(user);
    await pass(100);
  }
  const found = pauses(askedMs);
  expect(found).toEqual([...found].sort((a, b) => a - b));
  expect(askedMs.length).toBeLessThan(10);
  await control.release(user, false);
  const before = askedMs.length;
  await control.show(user);
  expect(askedMs).toHaveLength(before + 1);
});

test('a hang that many requests find at once counts once', async () => {
  const { control, pass, now } = machine(60_000);
  const users = Array.from({ length: 8 }, (_, each) => ({ ...user, key: `/docker/c${each}` }));
  await Promise.all(users.map((each) => control.kill(each)));
  const hungAtMs = now();
  // The first call that takes time is one that asks the engine.
  for (let beforeMs = now(); ; beforeMs = now()) {
    await control.showReleased(user, wanted);
    if (now() > beforeMs) break;
    await pass(100);
  }
  expect(now() - hungAtMs).toBeLessThan(4_000);
});

test('a container that must stand still again is not let run after a call to its engine', async () => {
  const { control, state } = machine(30);
  let isAsked = 0;
  const changes = () => {
    isAsked += 1;
    return isAsked < 2;
  };
  await control.showReleased(user, changes);
  expect(state.isFrozen).toBe(true);
});

test('an event waits for a name longer than an act does, and two events keep their order', async () => {
  const { control, inspected } = machine(800);
  expect(await control.nameOf(user)).toBe('container c');
  const told: string[] = [];
  await Promise.all([
    control.eventNameOf(user).then((name) => told.push(`paused ${name}`)),
    control.eventNameOf(user).then((name) => told.push(`resumed ${name}`)),
  ]);
  expect(told).toEqual(['paused container c (c)', 'resumed container c (c)']);
  expect(inspected()).toBe(1);
});
