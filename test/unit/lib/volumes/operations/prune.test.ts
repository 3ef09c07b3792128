// The removal of volumes that nobody has used for long: locks and records in a memory store, a clock that the
// test moves, storage of the directory driver in a temporary directory.

import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { UseMount } from '../../../../../lib/lock/use/use.ts';
import { Prune } from '../../../../../lib/volumes/operations/prune.ts';
import type { HostVolumes } from '../../../../support/host-volumes.ts';
import { hostVolumes } from '../../../../support/host-volumes.ts';

const context = { signal: new AbortController().signal };
const dayMs = 86_400_000;

let host: HostVolumes;
let volumes: HostVolumes['volumes'];
let prune: Prune;

beforeEach(async () => {
  host = await hostVolumes({ trashMs: 7 * dayMs });
  ({ volumes } = host);
  prune = new Prune({ volumes, lastUses: host.lastUses, clock: host.clock });
});
afterEach(async () => {
  await host[Symbol.asyncDispose]();
});

const create = (name: string, options: Record<string, string> = {}) =>
  volumes.create({ name, options }, context);
const use = async (name: string) => {
  await volumes.mount(name, 'id', context);
  await volumes.unmount(name, 'id', context);
};
const names = () => volumes.list().map(({ record }) => record.name);

test('removes what nobody has used for so long, and nothing that is used, protected or disabled', async () => {
  for (const name of ['used', 'mounted', 'plain', 'disabled']) await create(name);
  await create('protected', { protect: 'yes' });
  await use('plain');
  await host.locks.disable('disabled', {});
  await volumes.mount('mounted', 'id', context);
  host.clock.advance(20 * dayMs);
  await use('used');
  await create('young');
  host.clock.advance(15 * dayMs);

  const unused = prune.unused(30 * dayMs);
  expect(unused.map(({ name, kept }) => [name, kept]).sort()).toEqual([
    ['disabled', 'it is disabled by host n1'],
    ['plain', undefined],
    ['protected', 'it is protected'],
  ]);
  expect(names()).toHaveLength(6);
  const result = await prune.remove(30 * dayMs, context);
  expect(result.removed).toEqual(['plain']);
  expect(result.unused).toHaveLength(3);
  expect(names().sort()).toEqual(['disabled', 'mounted', 'protected', 'used', 'young']);
  expect(host.trash.list()).toMatchObject([{ volume: 'plain' }]);
});

test('a volume that is used after the look, or that another host has by then, stays', async () => {
  for (const name of ['db', 'web']) await create(name);
  host.clock.advance(40 * dayMs);
  const late = new Prune({
    ...{ volumes: { list: () => volumes.list(), remove: usedBefore }, clock: host.clock },
    lastUses: host.lastUses,
  });
  async function usedBefore(...args: Parameters<typeof volumes.remove>) {
    if (args[0] === 'db') await use('db');
    await volumes.remove(...args);
  }
  const busy = { reason: 'Test', timeoutMs: 0, ...context };
  const result = await host.locks.executeWithUseLock(UseMount('web', 'mount'), busy, () =>
    late.remove(30 * dayMs, context),
  );
  expect(result.removed).toEqual([]);
  expect(result.unused).toContainEqual(
    expect.objectContaining({ name: 'db', kept: 'volume db was used meanwhile' }),
  );
  expect(names().sort()).toEqual(['db', 'web']);
});

test('a volume that was restored or renamed counts as used then, and one of an unknown last use is never removed', async () => {
  for (const name of ['old', 'kept', 'crashed']) await create(name);
  await use('kept');
  host.clock.advance(40 * dayMs);
  await volumes.remove('old', context);
  await host.trash.restore({ volume: 'old' }, context);
  await volumes.rename('kept', 'renamed', context);
  // As after a Mount of a host that died, or that runs an earlier release.
  await host.store.commit({
    guards: [],
    writes: [{ key: 'tenures/crashed', value: 'a mark' }], // tidy-ok: stored name
    release: [],
  });
  expect(prune.unused(30 * dayMs)).toEqual([]);
  host.clock.advance(40 * dayMs);
  const { removed } = await prune.remove(30 * dayMs, context);
  expect([...removed].sort()).toEqual(['old', 'renamed']);
  expect(names()).toEqual(['crashed']);
});
