// How the daemon lets the users of a volume stand still for a copy: with a sentinel that answers as told.
import { expect, test } from '@jest/globals';
import { NotStillError, UnavailableError } from '../../../../lib/volumes/errors.ts';
import { SentinelStandstills } from '../../../../plugin/fencing/standstills.ts';
import type { SentinelReport } from '../../../../sentinel/watch.ts';
import { ManualClock } from '../../../support/manual-clock.ts';

const upMs = 5_000_000;

function start(answer: { report: SentinelReport }) {
  const clock = new ManualClock();
  const told: (number | undefined)[] = [];
  const standstills: SentinelStandstills = new SentinelStandstills({
    clock,
    bootNowMs: () => upMs + clock.now(),
    tell: async () => {
      told.push(standstills.untilMs.get('db'));
      return answer.report;
    },
  });
  return { clock, told, standstills };
}

function report(phase: string, fencedSinceMs?: number, why?: string): SentinelReport {
  const watched = { phase, fs: 'open', tenure: 'm', ...(fencedSinceMs && { fencedSinceMs }) }; // tidy-ok: protocol name
  return {
    ...{ protocolVersion: 2, pid: 1, volumes: {}, happenings: [] },
    watched: { db: watched },
    ...(why !== undefined && { incomplete: { db: why } }),
  };
}

test('they stand still from when the sentinel has seen it until the end', async () => {
  const answer = { report: report('preparing') };
  const { clock, told, standstills } = start(answer);
  const begun = standstills.begin('db', 10_000);
  await clock.pass(100);
  answer.report = report('fenced', upMs + 90);
  await clock.pass(20);
  const still = await begun;
  expect(told.at(-1)).toBe(upMs + 10_000);
  await clock.pass(200);
  await still.end();
  expect(told.at(-1)).toBeUndefined();
  expect(still.tookMs).toBe(230);
  await still.end();
});

test('the begin fails at the limit with what the sentinel says, and they run again', async () => {
  const answer = { report: report('preparing', undefined, 'rsync (pid 7) uses it') };
  const { clock, told, standstills } = start(answer);
  const begun = standstills.begin('db', 1_000);
  const refused = expect(begun).rejects.toThrow(/did not stand still within 1 s.*rsync \(pid 7\)/);
  await clock.pass(900);
  // At the limit itself they run again, and the sentinel has nothing more to say.
  answer.report = report('running');
  await clock.pass(200);
  await refused;
  await expect(begun).rejects.toBeInstanceOf(NotStillError);
  expect(told.at(-1)).toBeUndefined();
});

test('a copy that takes longer than the limit is aborted', async () => {
  const { clock, standstills } = start({ report: report('fenced', upMs) });
  const still = await standstills.begin('db', 1_000);
  await clock.pass(1_000);
  expect(still.signal.reason).toBeInstanceOf(NotStillError);
  await expect(still.end()).rejects.toThrow(/takes longer than its containers may stand still/);
});

test('the end fails if somebody was seen to run meanwhile', async () => {
  const answer = { report: report('fenced', upMs) };
  const { told, standstills } = start(answer);
  const still = await standstills.begin('db', 1_000);
  answer.report = report('fenced', upMs + 50);
  await expect(still.end()).rejects.toThrow(/somebody began to use volume db/);
  expect(told.at(-1)).toBeUndefined();
});

test('a sentinel that can not be reached is said to be, and keeps nothing still', async () => {
  const clock = new ManualClock();
  const standstills = new SentinelStandstills({
    ...{ clock, bootNowMs: () => upMs },
    tell: async () => {
      throw new Error('connect ECONNREFUSED');
    },
  });
  const begun = standstills.begin('db', 1_000);
  await expect(begun).rejects.toBeInstanceOf(UnavailableError);
  await expect(begun).rejects.toThrow(/sentinel.*can't be reached: connect ECONNREFUSED/);
  expect(standstills.untilMs.size).toBe(0);
});

test('two copies of a volume do not share a standstill', async () => {
  const { standstills } = start({ report: report('fenced', upMs) });
  await using _still = await standstills.begin('db', 1_000);
  await expect(standstills.begin('db', 1_000)).rejects.toThrow(/another copy of volume db/);
});
