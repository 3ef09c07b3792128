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
    pause: async () => {},
    unpause: (_, limitMs) =>
      call(limitMs, () => {
        if (!state.isFrozen) throw new EngineRefusalError(500, 'Container c is not paused');
        state.isPaused = false;
        did.push('engine: unpause');
      }),
    stop: async () => {},
    kill: async (_, limitMs) => {
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
    },
    hold: async () => {},
    release: async () => {
      state.isFrozen = false;
    },
    forget: async () => {},
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
