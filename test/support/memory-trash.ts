import { chosen } from '../../lib/volumes/operations/trash-choice.ts';
import type { RemovedVolume } from '../../lib/volumes/records/removed-volumes.ts';
import type { TrashOfRoutes } from '../../plugin/admin/trash-routes.ts';

/** Returns a trash in memory, which is off when it is empty, without storage and without locks, for tests of the interfaces above it. */
export function memoryTrash(all: RemovedVolume[]): TrashOfRoutes {
  const take = (removed: RemovedVolume) => all.splice(all.indexOf(removed), 1);
  return {
    get termMs() {
      return all.length > 0 ? 7 * 86_400_000 : 0;
    },
    list: () => all,
    bytes: async () => 2 ** 20,
    restore: async ({ volume, which }) => {
      const removed = chosen(all, volume, which);
      take(removed);
      return removed;
    },
    discard: async ({ volume, id }) => {
      const removed = all.find((each) => each.volume === volume && each.id === id);
      if (removed) take(removed);
      return removed !== undefined;
    },
  };
}

/** Returns a removed volume of the directory driver. */
export function removedVolume(
  volume: string,
  id: string,
  more: Partial<RemovedVolume> = {},
): RemovedVolume {
  const createdAt = '2026-01-01T00:00:00.000Z';
  return {
    ...{ volume, id, driver: 'directory', identity: '7', removedBy: 'n2', claims: [], revision: 1 },
    removedAt: '2026-01-02T03:04:05.678Z',
    keptUntil: '2026-01-09T03:04:05.678Z',
    record: {
      ...{ version: 1, name: volume, driver: 'directory', options: {}, access: 'host' },
      ...{ failover: 'auto', onLost: 'pause', createdAt, createdBy: 'n1', snapshots: [], token: 1 },
    },
    ...more,
  };
}
