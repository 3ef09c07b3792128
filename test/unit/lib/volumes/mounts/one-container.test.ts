// The decision about a second container of a volume with access=container, with a played engine.
import { describe, expect, test } from '@jest/globals';
import { InUseError } from '../../../../../lib/volumes/errors.ts';
import type {
  Asker,
  Holder,
  Verdict,
  VolumeContainers,
} from '../../../../../lib/volumes/mounts/one-container.ts';
import { OneContainer, refusePodman } from '../../../../../lib/volumes/mounts/one-container.ts';
import { mountRow } from '../../../../support/mount-row.ts';

const podmanId = '2f73349cfc4630255319c6c8dfc1b46a8996ace9d14d8e07563b165915918ec2';
const web = { id: 'a'.repeat(64), name: 'web', startedAt: '2026-01-02T04:00:00Z' };
const other = { id: 'b'.repeat(64), name: 'other' };
const third = { id: 'c'.repeat(64), name: 'third' };
const row = mountRow('db', { access: 'container' });
const { signal } = new AbortController();

interface Situation {
  readonly engine?: Partial<VolumeContainers>;
  readonly isShown?: boolean;
  readonly id?: string;
  readonly ids?: readonly string[];
}

function decide({ engine, isShown = false, id = 'new', ids = ['old'] }: Situation) {
  const container = new OneContainer({
    engine: async () => {
      if (engine === undefined) throw new Error('connect ENOENT');
      return { running: [], busy: [], ...engine };
    },
    isShownElsewhere: async () => isShown,
  });
  const mountIds = new Map(ids.map((key) => [key, { count: 1, confirmed: true }]));
  return container.decide({ ...row, mountIds }, id, signal);
}

const askers: Readonly<Record<Asker, Situation>> = {
  create: { engine: {} },
  start: { engine: { busy: [other] } },
  several: { engine: { busy: [other, third] } },
  unknown: {},
  podman: { engine: {}, id: podmanId },
};

const running: readonly [string, (situation: Situation) => Situation][] = [
  ['a container', ({ engine, ...rest }) => ({ ...rest, engine: { ...engine, running: [web] } })],
  ['a process that the kernel shows', (situation) => ({ ...situation, isShown: true })],
  ['Podman', (situation) => ({ ...situation, ids: [podmanId] })],
];

describe.each<[Asker, Record<Holder, Verdict>]>([
  ['create', { running: 'stand-in', idle: 'stand-in' }],
  ['start', { running: 'refuse', idle: 'volume' }],
  ['several', { running: 'refuse', idle: 'wait' }],
  ['unknown', { running: 'refuse', idle: 'refuse' }],
  ['podman', { running: 'refuse', idle: 'refuse' }],
])('a Mount by %s', (asker, expected) => {
  test.each(running)(`is answered with ${expected.running} beside %s`, async (_who, beside) => {
    // An engine that does not answer names no container.
    const situation =
      asker === 'unknown' ? { ...askers.unknown, isShown: true } : beside(askers[asker]);
    expect((await decide(situation)).verdict).toBe(expected.running);
  });

  test(`is answered with ${expected.idle} beside nobody that runs`, async () => {
    expect((await decide(askers[asker])).verdict).toBe(expected.idle);
  });
});

test('no verdict gives the volume to a second container while one runs', async () => {
  for (const situation of Object.values(askers)) {
    for (const [, beside] of running.slice(1)) {
      expect(['refuse', 'stand-in']).toContain((await decide(beside(situation))).verdict);
    }
  }
});

test('the refusal names the container, since when it runs, and how to share', async () => {
  const { refusal } = await decide({ engine: { running: [web], busy: [other] } });
  expect(refusal).toBeInstanceOf(InUseError);
  expect(refusal.message).toMatch(
    /^volume db has access=container and is used by the container web \(aaaaaaaaaaaa\) on this host since 2026-01-02T04:00:00Z; stop that container first.*access=host/,
  );
});

test('without an answer of the engine the refusal has its reason, and since when the volume is mounted', async () => {
  const { refusal } = await decide({});
  expect(refusal.message).toContain('since 2026-01-02T03:04:05Z (token 7)');
  expect(refusal.message).toContain('the engine could not be asked: connect ENOENT');
});

test('Podman is refused before anything is mounted, with the reason', () => {
  expect(() => refusePodman('db', podmanId)).toThrow(/it mounts a volume once for all/);
  expect(() => refusePodman('db', 'an engine')).not.toThrow();
});
