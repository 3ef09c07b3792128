// How the daemon reaches, starts and replaces the sentinel: a fake of the machine's processes and of
// the sentinels that they run, on a manual clock. test/e2e/fencing has the real ones.
import { beforeEach, describe, expect, test } from '@jest/globals';
import type { ProcessLook } from '../../../../plugin/fencing/liveness.ts';
import { SentinelRefusal } from '../../../../plugin/fencing/sentinel-call.ts';
import { SentinelLink } from '../../../../plugin/fencing/sentinel-link.ts';
import type { SentinelProcesses } from '../../../../plugin/fencing/sentinel-process.ts';
import type { WatchMessage } from '../../../../sentinel/watch.ts';
import { protocolVersion } from '../../../../sentinel/watch.ts';
import { ManualClock } from '../../../support/manual-clock.ts';

type Kind = 'current' | 'old' | 'refusing' | 'unreadable' | 'hung';

/** A process that listens on the socket. */
interface FakeSentinel {
  readonly pid: number;
  kind: Kind;
  state: string;
  /** Grows with each look: it uses the processor. */
  works: boolean;
  used: number;
  /** False: its socket file was removed. */
  isReachable: boolean;
  /** True: it does not end when it is asked to. */
  isStubborn: boolean;
}

class FakeMachine implements SentinelProcesses {
  readonly clock = new ManualClock();
  readonly calls: string[] = [];
  readonly killed: number[] = [];
  running: FakeSentinel[] = [];
  /** The kind of the next started sentinel. */
  starts: Kind = 'current';
  /** Happens before processes are looked for. */
  beforeFind: (() => void) | undefined;
  #nextPid = 100;

  add(kind: Kind, change: Partial<FakeSentinel> = {}): FakeSentinel {
    const pid = this.#nextPid++;
    const rest = { state: 'S', works: true, used: 0, isReachable: true, isStubborn: false };
    const sentinel = { pid, kind, ...rest, ...change };
    this.running.push(sentinel);
    return sentinel;
  }

  async find(): Promise<ProcessLook[]> {
    this.beforeFind?.();
    return this.running.map((each) => {
      if (each.works) each.used += 1;
      return { pid: each.pid, started: '1', state: each.state, used: `${each.used}`, written: '' };
    });
  }

  start() {
    return { pid: this.add(this.starts).pid, exitCode: null };
  }

  async hasEnded({ pid }: ProcessLook): Promise<boolean> {
    return this.running.every((each) => each.pid !== pid);
  }

  async kill({ pid }: ProcessLook): Promise<void> {
    this.killed.push(pid);
    this.#remove(pid);
  }

  #remove(pid: number): void {
    this.running = this.running.filter((each) => each.pid !== pid);
  }

  readonly call = async (method: string, path: string): Promise<string> => {
    const sentinel = this.running.find(({ isReachable }) => isReachable);
    this.calls.push(`${method} ${path} ${sentinel?.pid ?? '-'}`);
    if (!sentinel) throw Object.assign(new Error('nobody listens'), { code: 'ECONNREFUSED' });
    if (sentinel.kind === 'hung') {
      await this.clock.sleep(2_000);
      throw new Error('no answer');
    }
    if (path === '/end' && !sentinel.isStubborn) this.#remove(sentinel.pid);
    return answerOf(sentinel, path);
  };
}

function answerOf({ kind, pid }: FakeSentinel, path: string): string {
  if (kind === 'refusing' && path === '/watch') throw new SentinelRefusal('expected number');
  if (kind === 'unreadable') return '{"volumes":{"v":{"new":"words"}}}';
  const version = kind === 'old' ? protocolVersion + 1 : protocolVersion;
  return JSON.stringify({ protocolVersion: version, pid, volumes: {}, happenings: [] });
}

let machine: FakeMachine;
let link: SentinelLink;
let replaced: string[];
beforeEach(() => {
  machine = new FakeMachine();
  replaced = [];
  const { clock, call } = machine;
  link = new SentinelLink({
    ...{ clock, call, processes: machine },
    onReplaced: (message) => replaced.push(message),
  });
});

const watch = (): WatchMessage => ({ bootId: 'b', leadMs: 1, graceMs: 1, volumes: [], noted: 0 });

/** Calls the sentinel; returns the ID of the process that has the watch, or why there is none. */
async function told(): Promise<number | string> {
  let outcome: number | string | undefined;
  const telling = link.tell(watch).then(
    ({ pid }) => {
      outcome = pid;
    },
    (error: Error) => {
      outcome = error.message;
    },
  );
  while (outcome === undefined) await machine.clock.pass(20);
  await telling;
  return outcome;
}

describe('a sentinel', () => {
  test('that runs is called, whoever started it', async () => {
    const { pid } = machine.add('current');
    expect(await told()).toBe(pid);
    expect(machine.calls).toEqual([`PUT /watch ${pid}`]);
  });

  test('is started when none runs', async () => {
    expect(await told()).toBe(machine.running[0]?.pid);
    expect(machine.running).toHaveLength(1);
    expect(replaced).toEqual([]);
  });

  test('whose socket file was removed is killed: it would never get another deadline', async () => {
    const { pid } = machine.add('current', { isReachable: false });
    expect(await told()).not.toBe(pid);
    expect(machine.killed).toEqual([pid]);
    expect(replaced).toEqual([expect.stringMatching(`process ${pid}.*removed or replaced`)]);
  });
});

test('a sentinel that systemd starts at the same moment is used', async () => {
  machine.beforeFind = () => {
    machine.beforeFind = undefined;
    machine.add('current');
  };
  expect(await told()).toBe(machine.running[0]?.pid);
  expect(machine.running).toHaveLength(1);
  expect(machine.killed).toEqual([]);
});

describe('a sentinel of another release', () => {
  test.each(['old', 'refusing', 'unreadable'] as const)(
    'is asked to end, and replaced (%s)',
    async (kind) => {
      const { pid } = machine.add(kind);
      const next = await told();
      expect(machine.running.map((each) => each.pid)).toEqual([next]);
      expect(machine.calls).toContain(`POST /end ${pid}`);
      expect(machine.killed).toEqual([]);
      expect(replaced).toEqual([
        expect.stringMatching(/^replaced a sentinel of another release: /),
      ]);
    },
  );

  test('is killed if it does not end', async () => {
    const { pid } = machine.add('old', { isStubborn: true });
    expect(await told()).not.toBe(pid);
    expect(machine.killed).toEqual([pid]);
  });

  test('is not what this daemon has started itself: that one is not replaced again and again', async () => {
    machine.starts = 'refusing';
    expect(await told()).toMatch('expected number');
    expect(await told()).toMatch('expected number');
    expect(machine.running).toHaveLength(1);
    expect(replaced).toEqual([]);
  });
});

describe('a sentinel that does not answer', () => {
  test('is not replaced while it works, and the error says so', async () => {
    const { pid } = machine.add('hung');
    for (let call = 1; call <= 15; call += 1) {
      expect(await told()).toBe(
        `the sentinel (process ${pid}) works, but has not answered for ${call * 6} s; ` +
          'it may be stopping containers',
      );
    }
    expect(machine.killed).toEqual([]);
    expect(replaced).toEqual([]);
  });

  test('gets the watch as it is at the last attempt', async () => {
    const sentinel = machine.add('hung');
    const sent: number[] = [];
    const telling = link.tell(() => {
      sent.push(machine.clock.now());
      return watch();
    });
    await machine.clock.pass(1_000);
    sentinel.kind = 'current';
    await machine.clock.pass(1_000);
    expect((await telling).pid).toBe(sentinel.pid);
    expect(sent).toEqual([0, 2_000]);
  });

  test('is replaced at once when it is stopped', async () => {
    const { pid } = machine.add('hung', { state: 'T', works: false });
    expect(await told()).not.toBe(pid);
    expect(machine.killed).toEqual([pid]);
    expect(replaced).toEqual([
      `replaced the sentinel (process ${pid}), which did not answer: it is stopped by a signal`,
    ]);
  });

  test('is replaced when it has done nothing for long enough', async () => {
    const { pid } = machine.add('hung', { works: false });
    let outcome = await told();
    for (let call = 1; call < 5 && typeof outcome === 'string'; call += 1) outcome = await told();
    expect(outcome).not.toBe(pid);
    expect(machine.clock.now()).toBeGreaterThan(15_000);
    expect(replaced).toEqual([expect.stringMatching('has done nothing for 16 s')]);
  });

  test('does not hide another one that is stopped, and is not replaced together with that one', async () => {
    const busy = machine.add('hung');
    const stopped = machine.add('hung', { state: 'T', works: false, isReachable: false });
    const telling = told();
    await machine.clock.pass(2_500);
    busy.kind = 'current';
    expect(await telling).toBe(busy.pid);
    expect(machine.killed).toEqual([stopped.pid]);
  });
});

describe('looking for the sentinel of an earlier daemon', () => {
  test('starts none', async () => {
    expect(await link.isGuarding()).toBe(false);
    expect(machine.running).toEqual([]);
  });

  test('finds none that guards something where a sentinel guards nothing', async () => {
    machine.add('current');
    expect(await link.isGuarding()).toBe(false);
  });

  test('takes one that answers in an unknown way, or not at all, as one that guards', async () => {
    const sentinel = machine.add('unreadable');
    expect(await link.isGuarding()).toBe(true);
    sentinel.kind = 'hung';
    const asking = link.isGuarding();
    await machine.clock.pass(2_000);
    expect(await asking).toBe(true);
  });
});
