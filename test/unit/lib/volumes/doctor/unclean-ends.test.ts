// The doctor's check of what other hosts did not end, and of what takeovers have kept aside.

import { expect, test } from '@jest/globals';
import { never } from '../../../../../lib/running/never.ts';
import { UncleanEndDoctor } from '../../../../../lib/volumes/doctor/unclean-ends.ts';
import { directoryDriver } from '../../../../../lib/volumes/drivers/directory/driver.ts';
import type { DriverTakeover } from '../../../../../lib/volumes/drivers/driver.ts';
import type { PutAside } from '../../../../../lib/volumes/drivers/takeover.ts';
import { claimText, parseClaim } from '../../../../../lib/volumes/records/claims.ts';
import type { VolumeRecord } from '../../../../../lib/volumes/volume.ts';

const record: VolumeRecord = {
  ...{ version: 1, name: 'db', driver: 'fake', options: {}, access: 'host', failover: 'auto' },
  ...{ onLost: 'pause', createdAt: '', createdBy: 'n1', snapshots: [], token: 1 },
};

const since = '2026-01-02T03:04:05.000Z';

function claimOf(mark: string) {
  const claimant = { owner: 'machine.n1', host: 'n1', addresses: [], boot: 'boot' };
  const value = claimText(claimant, new Date(since));
  const claim = parseClaim({ key: `claims/db/${mark}`, value, revision: 7 });
  if (!claim) throw new Error('no claim');
  return claim;
}

function asideOf(mark: string, writtenAt?: string): PutAside {
  return {
    mark,
    host: 'n1',
    token: 7,
    since,
    path: `/aside/${mark}.img`,
    bytes: 2 ** 20,
    writtenAt,
  };
}

/** The host that looks has left the claim `own`. */
function physician(asides: PutAside[], claims: readonly string[], onRead = async () => {}) {
  const takeover: DriverTakeover = {
    ability: async () => 'at-once',
    takeOver: async () => {},
    putAside: async () => asides,
    discard: async (_, mark) => {
      asides.splice(
        asides.findIndex((aside) => aside.mark === mark),
        1,
      );
    },
  };
  const driver = { ...directoryDriver({ volumeDir: '/nowhere' }), takeover };
  return new UncleanEndDoctor({
    catalog: { list: () => [record] },
    drivers: new Map([['fake', driver]]),
    pools: { trouble: async () => undefined },
    uncleanEnds: {
      list: () => claims.filter((mark) => mark !== 'own').map(claimOf),
      claimsOn: async () => {
        await onRead();
        return claims.map(claimOf);
      },
    },
  });
}

const look = { fix: false, deletions: new Set<string>(), signal: never };
const gone = expect.stringContaining('berth lock clear db --token 7 --host-gone');

test('a host that did not unmount a volume is named, with the way to say that it is gone', async () => {
  expect(await physician([], ['one']).examine(look)).toMatchObject([
    {
      kind: 'unclean-end',
      what: 'db',
      message: expect.stringMatching(/host n1.*may still write/),
      since,
      next: [expect.stringContaining('start berth on host n1'), gone],
    },
  ]);
});

test('a file that was put aside is named once, with who may still write to it', async () => {
  expect(await physician([asideOf('one')], ['one']).examine(look)).toMatchObject([
    {
      kind: 'put-aside',
      what: '/aside/one.img',
      message: expect.stringMatching(/host n1.*wrote nothing there, and may still write there/),
      next: [expect.anything(), gone],
    },
  ]);
});

test('what was written there stays, and a person decides; what was not is removed', async () => {
  const asides = [asideOf('written', '2026-01-02T03:05:00Z'), asideOf('unused')];
  const outcomes = await physician(asides, []).examine({ ...look, fix: true });
  expect(outcomes).toMatchObject([
    {
      kind: 'put-aside',
      what: '/aside/written.img',
      state: 'found',
      message: expect.stringContaining('until 2026-01-02T03:05:00Z; none of it is in the volume'),
      next: [expect.stringContaining('mount -o ro,loop'), 'delete it: rm /aside/written.img'],
    },
    { what: '/aside/unused.img', state: 'fixed' },
  ]);
  expect(asides.map(({ mark }) => mark)).toEqual(['written']);
});

test('what is kept for this very host, which has not let go, stays', async () => {
  const asides = [asideOf('own')];
  const outcomes = await physician(asides, ['own']).examine({ ...look, fix: true });
  expect(outcomes).toMatchObject([{ what: '/aside/own.img', state: 'found' }]);
  expect(asides).toHaveLength(1);
});

test('what its host wrote while the doctor looked, before it let go, stays', async () => {
  const asides = [asideOf('late')];
  const letGo = async () => {
    asides[0] = asideOf('late', '2026-01-02T03:05:00Z');
  };
  const outcomes = await physician(asides, [], letGo).examine({ ...look, fix: true });
  expect(outcomes).toMatchObject([{ what: '/aside/late.img', state: 'found' }]);
  expect(asides).toHaveLength(1);
});
