// Two hosts that share a pool, and use it for the first time at the same moment: a memory store, real
// directories, and a second host that is overtaken at the point that the test chooses.

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { StoreMirror } from '../../../../../lib/lock/engine/store-mirror.ts';
import { memoryState, memoryStore } from '../../../../../lib/lock/stores/memory/store.ts';
import { systemClock } from '../../../../../lib/running/clock.ts';
import { directoryDriver } from '../../../../../lib/volumes/drivers/directory/driver.ts';
import type { VolumeDriver } from '../../../../../lib/volumes/drivers/driver.ts';
import { Pools } from '../../../../../lib/volumes/pools/pools.ts';
import { Cluster } from '../../../../../lib/volumes/records/cluster.ts';
import { makeTemporaryDirectory } from '../../../../support/temporary-directory.ts';

async function poolsOf(host: string, shared: ReturnType<typeof memoryState>): Promise<Pools> {
  const store = memoryStore({ shared });
  const mirror = new StoreMirror(store);
  await mirror.firstReset;
  const cluster = new Cluster({ mirror, store });
  const catalog = { list: () => [] };
  return new Pools({ cluster, catalog, mirror, store, clock: systemClock(), host, owner: host });
}

/** Opens two hosts on one pool; the first uses it while the second does its first `step`. */
async function overtaken(volumeDir: string, step: 'look' | 'names'): Promise<Promise<void>> {
  const shared = memoryState();
  const [first, second] = await Promise.all([poolsOf('n1', shared), poolsOf('n2', shared)]);
  const driver = directoryDriver({ volumeDir });
  const useFirst = async () => {
    await first.require(driver);
    await mkdir(join(volumeDir, 'directory/db/data'), { recursive: true });
    await writeFile(join(volumeDir, 'directory/db/data/state'), 'of n1');
  };
  let isFirstTime = true;
  const once = async <T>(work: () => Promise<T>, order: 'before' | 'after'): Promise<T> => {
    const isNow = isFirstTime;
    isFirstTime = false;
    if (isNow && order === 'before') await useFirst();
    const result = await work();
    if (isNow && order === 'after') await useFirst();
    return result;
  };
  const { pool, storage } = driver;
  const steps = {
    look: { pool: { ...pool, look: () => once(() => pool.look(), 'after') } },
    names: { storage: { ...storage, names: () => once(() => storage.names(), 'before') } },
  };
  const slow: VolumeDriver = { ...driver, ...steps[step] };
  return second.require(slow);
}

test.each([
  ['has seen no mark yet', 'look'],
  ['looks for volumes before it claims the pool', 'names'],
] as const)(
  'a host %s when another marks their pool, and uses it all the same',
  async (_, step) => {
    await using directory = await makeTemporaryDirectory();
    await expect(overtaken(directory.path, step)).resolves.toBeUndefined();
  },
);
