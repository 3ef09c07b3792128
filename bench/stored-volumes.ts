import { randomUUID } from 'node:crypto';
import { EtcdClient } from '../lib/etcd/client.ts';
import { EtcdStore } from '../lib/lock/stores/etcd/store.ts';
import { mountMarkKey, recordWrite } from '../lib/volumes/records/catalog.ts';
import type { Etcd } from '../test/support/etcd-server.ts';

const batch = 50;

/**
 * Writes the records of volumes directly into the store, with the mark of a Mount each if they have been
 * mounted: making the storage, too, would take minutes.
 */
export async function addRecords(
  etcd: Etcd,
  volumes: number,
  { mounted = false } = {},
): Promise<void> {
  const endpoints = etcd.endpoints.map((url) => new URL(url).host);
  await using store = new EtcdStore(new EtcdClient({ endpoints }), '/berth');
  for (let first = 0; first < volumes; first += batch) {
    const count = Math.min(batch, volumes - first);
    const writes = Array.from({ length: count }, (_, i) => writesOf(first + i, mounted));
    await store.commit({ guards: [], writes: writes.flat(), release: [] });
  }
}

function writesOf(index: number, mounted: boolean) {
  const name = `volume-${index}`;
  const record = recordWrite(
    {
      version: 1,
      name,
      driver: 'directory',
      options: {},
      access: 'host',
      failover: 'auto',
      onLost: 'pause',
      createdAt: new Date().toISOString(),
      createdBy: 'bench',
      snapshots: [],
      token: index,
    },
    0,
  );
  return [record, ...(mounted ? [{ key: mountMarkKey(name), value: randomUUID() }] : [])];
}
