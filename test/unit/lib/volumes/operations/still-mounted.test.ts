// Operations that delete or replace storage, while the kernel of this host has the volume mounted
// and the mount table does not. A memory store; the storage is real, the kernel's table is played.
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import type { Mount } from '../../../../../lib/linux/mountinfo.ts';
import { visibleNames } from '../../../../../lib/volumes/drivers/stored-volume.ts';
import { InUseError } from '../../../../../lib/volumes/errors.ts';
import type { HostVolumes } from '../../../../support/host-volumes.ts';
import { hostVolumes } from '../../../../support/host-volumes.ts';

const context = { signal: new AbortController().signal };
const monday = { volume: 'db', snapshot: 'monday' };

let mounted: Set<string>;
let host: HostVolumes;

beforeEach(async () => {
  mounted = new Set();
  host = await hostVolumes({
    mountsAt: async (path) => (mounted.has(path) ? [{ mountpoint: path } as Mount] : []),
  });
  await host.volumes.create({ name: 'db', options: {} }, context);
  await host.volumes.snapshot(monday, context);
  await writeFile(join(host.path, 'directory/db/data/file'), 'content');
});

afterEach(() => host[Symbol.asyncDispose]());

const content = (name: string) => readFile(join(host.path, `directory/${name}/data/file`), 'utf8');

const operations: [what: string, volume: string, attempt: () => Promise<unknown>][] = [
  ['Remove', 'db', () => host.volumes.remove('db', context)],
  ['restoring a snapshot', 'db', () => host.volumes.restoreSnapshot(monday, context)],
  ['Copy to its name', 'new', () => host.volumes.copy({ volume: 'db' }, 'new', context)],
  [
    'Create from another',
    'new',
    () => host.volumes.create({ name: 'new', options: { from: 'db' } }, context),
  ],
  ['Create', 'new', () => host.volumes.create({ name: 'new', options: {} }, context)],
];

test.each(operations)('%s is refused while %s is still mounted', async (what, volume, attempt) => {
  const mountpoint = join(host.mountDir, volume);
  mounted.add(mountpoint);
  if (what === 'Remove') await host.volumes.removeSnapshot(monday, context);
  const refused = attempt();
  await expect(refused).rejects.toThrow(InUseError);
  await expect(refused).rejects.toThrow(
    `volume ${volume} is still mounted at ${mountpoint} on this host, so its storage is not touched`,
  );
  expect(await content('db')).toBe('content');
  expect(await visibleNames(join(host.path, 'directory'))).toEqual(['db']);
  expect(host.locks.tickets()).toEqual([]);
  mounted.clear();
  await attempt();
});
