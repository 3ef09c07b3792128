// Records that berth did not write, or that a later release wrote, against the code that reads them: bytes, JSON
// of other shapes, other names inside, parts of paths, huge values. A memory store; etcd's keys as bytes.
import { join, relative } from 'node:path';
import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { EtcdKeys, ticketValue } from '../../../../../lib/lock/stores/etcd/keys.ts';
import type { StoredRecord } from '../../../../../lib/lock/stores/ticket-store.ts';
import { unreadableRecords } from '../../../../../lib/volumes/doctor/unreadable-records.ts';
import { childPath } from '../../../../../lib/volumes/drivers/shared/child-path.ts';
import { UnavailableError, VolumeError } from '../../../../../lib/volumes/errors.ts';
import { Catalog } from '../../../../../lib/volumes/records/catalog.ts';
import { claimsIn } from '../../../../../lib/volumes/records/claims.ts';
import { UnreadableRecordError } from '../../../../../lib/volumes/stored-text.ts';

const volume = {
  ...{ version: 1, name: 'db', driver: 'directory', options: { uid: '5' }, access: 'host' },
  ...{ failover: 'auto', onLost: 'pause', createdAt: '2026-01-02T03:04:05.000Z', createdBy: 'n1' },
  ...{ from: 'old@s', snapshots: [{ name: 's1', createdAt: '' }], token: 7 },
};
const claim = { owner: 'm.n1', host: 'n1', addresses: ['10.0.0.1'], boot: 'b', since: '' };
const samples: Readonly<Record<string, object>> = {
  'volumes/db': volume,
  'claims/db/mark-1': claim,
  'evictions/db': { volume: 'db', token: 3, by: 'n1', nonce: 'x' },
  'pools/directory': { version: 1, state: 'marked', owner: 'm.n1', host: 'n1', since: '' },
  'promises/image/x': { version: 1, bytes: 5, ticket: 'x', host: 'n1' },
  cluster: { version: 1, id: '7b7d1c5e-3b9a-4b53-8e0c-0d8f6d4b2a10' },
};
const good: StoredRecord = {
  key: 'volumes/good',
  value: JSON.stringify({ ...volume, name: 'good' }),
  revision: 5,
};

const badName = fc.constantFrom(
  ...['..', '.', '', '../../etc', 'a/../../b', '/etc', 'a\0b', '.tmp-1', 'other', 'a'.repeat(300)],
  ...['__proto__', '\u001b[2J', '\u202egpj', 'dä', '-rf', '\ud800'],
);
const badValue = fc.oneof(
  badName,
  fc.jsonValue(),
  fc.constantFrom(-1, 2, 1e300, 2 ** 60, null, [], {}, ['x'], { a: { b: 1 } }),
);

/** Replaces one field, at any depth, of a good value. */
const changed = (sample: object) =>
  fc.tuple(fc.constantFrom(...pathsOf(sample)), badValue).map(([path, value]) => {
    const copy = structuredClone(sample);
    put(copy, path, value);
    return JSON.stringify(copy);
  });
const text = (sample: object) =>
  fc.oneof(
    changed(sample),
    changed(sample),
    fc.json(),
    fc.string({ unit: 'binary', maxLength: 50 }),
    fc.constantFrom('', '[', '['.repeat(100_000), `"${'x'.repeat(1_000_000)}"`, 'null'),
    fc.integer({ min: 3 }).map((version) => JSON.stringify({ ...sample, version })),
  );
const kind = fc.constantFrom(...Object.keys(samples));
const mangled = kind.chain((key) =>
  fc.record({
    key: fc.oneof(
      { weight: 4, arbitrary: fc.constant(key) },
      badName.map((name) => key.replace(/\/.*|$/, `/${name}`)),
    ),
    value: text(samples[key] ?? {}),
    revision: fc.constant(9),
  }),
);

function pathsOf(value: unknown, at: readonly string[] = []): string[][] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) => [
    [...at, key],
    ...pathsOf(inner, [...at, key]),
  ]);
}

function put(target: unknown, [first = '', ...rest]: readonly string[], value: unknown): void {
  const object = target as Record<string, unknown>;
  if (rest.length === 0) object[first] = value;
  else put(object[first], rest, value);
}

function catalogOf(records: readonly StoredRecord[]) {
  const byKey = new Map(records.map((record) => [record.key, record]));
  const mirror = {
    ...{ isLive: true, hasBeenLive: true },
    record: (key: string) => byKey.get(key),
    records: () => byKey.values(),
  };
  const store = { record: async (key: string) => byKey.get(key) };
  return { mirror, catalog: new Catalog(mirror, store) };
}

test('security E2: a mangled record is used whole or not at all, is shown, and hides no other', () => {
  const property = (hostile: StoredRecord) => {
    const { mirror, catalog } = catalogOf([hostile, good]);
    const listed = catalog.list();
    expect(listed.map(({ name }) => name)).toContain('good');
    const faults = unreadableRecords({ mirror, catalog });
    for (const fault of faults) {
      expect(fault).toBeInstanceOf(UnreadableRecordError);
      expect(fault.key.length).toBeLessThan(250);
      expect(`${fault.key}${fault.message}`).not.toMatch(/[\p{Cc}\p{Cf}]/u);
    }
    if (hostile.key.startsWith('volumes/')) {
      const name = hostile.key.slice('volumes/'.length);
      const isListed = listed.some((record) => `volumes/${record.name}` === hostile.key);
      expect(faults.length).toBe(isListed ? 0 : 1);
      if (!isListed) expect(() => catalog.get(name)).toThrow(UnavailableError);
    }
    for (const record of listed) {
      const paths = [record.name, ...record.snapshots.map(({ name }) => name)];
      for (const name of paths) expect(relative('/pool', join('/pool', name))).toBe(name);
      expect(JSON.stringify(record)).not.toMatch(/\\u00|\u202e/);
    }
    for (const found of claimsIn([hostile])) {
      expect(found.host).toMatch(/^[A-Za-z0-9_.-]{1,64}$/);
      expect(found.unreadable !== undefined).toBe(faults.length === 1);
    }
  };
  fc.assert(fc.property(mangled, property), { numRuns: 300 });
});

test('every kind of record that berth writes is read, and one of a later format is called newer', () => {
  for (const [key, value] of Object.entries(samples)) {
    const { mirror, catalog } = catalogOf([{ key, value: JSON.stringify(value), revision: 9 }]);
    expect(unreadableRecords({ mirror, catalog })).toEqual([]);
    const newer = { key, value: JSON.stringify({ ...value, version: 3, more: 1 }), revision: 9 };
    const [fault] = unreadableRecords(catalogOf([newer]));
    expect([key, fault?.isNewer, fault?.message]).toEqual([
      key,
      true,
      expect.stringContaining('a later release has written it'),
    ]);
  }
});

test('security E2: a driver never leaves its base, whatever name it is given', () => {
  const property = (name: string) => {
    let path: string;
    try {
      path = childPath('/pool/directory', name);
    } catch (error) {
      expect(error).toBeInstanceOf(VolumeError);
      return;
    }
    expect(relative('/pool/directory', path)).toBe(name);
    expect(name).not.toMatch(/[/\0]|^\./);
  };
  fc.assert(fc.property(fc.oneof(badName, fc.string()), property), { numRuns: 300 });
});

const keys = new EtcdKeys('/berth');
const request = {
  ...{ session: '7', nonce: 'n', kind: 'mount', owner: 'm.n1' },
  locks: [{ name: 'mount/db', mode: 'exclusive' as const }],
  holder: { host: 'n1', reason: 'Mount', since: '' },
};
const kvOf = (key: string | Buffer, value: string) => ({
  ...{ key: Buffer.from(key), value: Buffer.from(value), lease: '7', version: '1' },
  ...{ create_revision: '3', mod_revision: '3' },
});

test('a mangled ticket or gate is foreign or fits its key, and never stops the watch', () => {
  const [own = Buffer.from('')] = keys.ticketKeys({ id: '7-0', locks: request.locks });
  const places = ['/berth/locks/mount%2Fother/x/7-0', '/berth/locks/mount%2Fdb/z', own.toString()];
  const odd = fc.string({ unit: 'binary', maxLength: 20 }).map((end) => `/berth/locks/${end}/z`);
  const key = fc.oneof(fc.constantFrom(...places), odd, fc.constant('/berth/locks/%E0%A4%A/z'));
  const ticket = ticketValue(request).toString();
  const gate = { lockName: 'mount/db', host: 'n1', since: '' };
  const value = fc.oneof(
    fc.constantFrom(ticket, JSON.stringify(gate)),
    changed(request),
    changed(gate),
    text(request),
  );
  const property = (at: string, what: string) => {
    const kv = kvOf(at, what);
    if (keys.isGate(kv.key.toString()))
      expect(typeof keys.gatedLock(kv.key.toString())).toBe('string');
    if (keys.isForeign(kv)) return;
    if (keys.isGate(at)) expect(keys.gateKey(keys.parseGate(kv).lockName)).toEqual(kv.key);
    else
      expect(keys.ticketKeys(keys.parseTicket(kv)).some((each) => each.equals(kv.key))).toBe(true);
  };
  fc.assert(fc.property(key, value, property), { numRuns: 300 });
});
