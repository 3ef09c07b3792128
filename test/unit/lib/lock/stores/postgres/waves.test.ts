// Which steps may look at one time: pure.
import { expect, test } from '@jest/globals';
import { wavesOf } from '../../../../../../lib/lock/stores/postgres/waves.ts';
import type { Touches } from '../../../../../../lib/lock/stores/touches.ts';
import { touchesOf } from '../../../../../../lib/lock/stores/touches.ts';
import type { PlainLockRequest } from '../../../../../../lib/lock/ticket.ts';
import { seededRandom } from '../../../../../support/seeded-random.ts';

interface Step {
  readonly name: string;
  readonly touches: Touches | undefined;
}

function on(lock: string, mode: PlainLockRequest['mode'], nonce: string): Step {
  const ticket = { session: 's', nonce, locks: [{ name: lock, mode }] };
  return { name: nonce, touches: touchesOf([ticket]) };
}

function namesOf(steps: readonly Step[]): string[][] {
  return wavesOf(steps).map((wave) => wave.map(({ name }) => name));
}

test('steps on different locks, and shared ones on the same, share a wave', () => {
  const steps = [on('a', 'exclusive', '1'), on('b', 'exclusive', '2'), on('c', 'shared', '3')];
  expect(namesOf([...steps, on('c', 'shared', '4')])).toEqual([['1', '2', '3', '4']]);
});

test('a step comes after each earlier one on its lock, unless both are shared', () => {
  expect(
    namesOf([
      on('a', 'exclusive', '1'),
      on('a', 'shared', '2'),
      on('a', 'shared', '3'),
      on('a', 'exclusive', '4'),
      on('b', 'exclusive', '5'),
    ]),
  ).toEqual([['1', '5'], ['2', '3'], ['4']]);
});

test('two steps of one request never share a wave', () => {
  expect(namesOf([on('a', 'shared', '1'), on('a', 'shared', '1')])).toEqual([['1'], ['1']]);
});

test('a step comes after each earlier one that writes a record which it reads', () => {
  const step = (name: string, read: string[], written: string[]) => {
    const ticket = { session: 's', nonce: name, locks: [{ name, mode: 'exclusive' as const }] };
    return { name, touches: touchesOf([ticket], { read, written }) };
  };
  expect(
    namesOf([
      step('1', ['k'], []),
      step('2', ['k'], []),
      step('3', [], ['k']),
      step('4', ['k'], []),
    ]),
  ).toEqual([['1', '2'], ['3'], ['4']]);
});

test('a step that depends on all others has a wave of its own', () => {
  const all = { name: 'all', touches: undefined };
  expect(namesOf([on('a', 'shared', '1'), all, on('b', 'shared', '2'), all])).toEqual([
    ['1'],
    ['all'],
    ['2'],
    ['all'],
  ]);
});

test('the steps that depend on each other keep their order, whatever they touch', () => {
  const { below: pick } = seededRandom(7);
  for (let round = 0; round < 200; round += 1) {
    const steps = Array.from({ length: 30 }, (_, index) => {
      const names = () => Array.from({ length: pick(3) }, () => `n${pick(6)}`);
      const touches = pick(12) === 0 ? undefined : { reads: names(), writes: names() };
      return { name: String(index), touches };
    });
    const waves = wavesOf(steps);
    expect(waves.flat().toSorted((a, b) => Number(a.name) - Number(b.name))).toEqual(steps);
    const waveOf = new Map(waves.flatMap((wave, index) => wave.map(({ name }) => [name, index])));
    for (const [index, later] of steps.entries()) {
      for (const earlier of steps.slice(0, index)) {
        if (isIndependent(earlier, later)) continue;
        expect(waveOf.get(earlier.name)).toBeLessThan(waveOf.get(later.name) ?? -1);
      }
    }
  }
});

function isIndependent({ touches: a }: Step, { touches: b }: Step): boolean {
  if (!a || !b) return false;
  const meets = (x: readonly string[], y: readonly string[]) => x.some((name) => y.includes(name));
  return !meets(a.writes, [...b.reads, ...b.writes]) && !meets(b.writes, a.reads);
}
