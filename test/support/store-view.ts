import { DatabaseSync } from 'node:sqlite';
import { z } from 'zod';
import type { Etcd } from './etcd-server.ts';

/** The content of a store, read without berth. */
export interface StoreView {
  /** Returns the volumes' locks that are held or waited for, such as `mount/db`; sorted. */
  locks(): Promise<string[]>;
  /** Returns the volumes' records by name. */
  records(): Promise<Readonly<Record<string, unknown>>>;
}

export function embeddedView(path: string): StoreView {
  const read = (query: string) => {
    const database = new DatabaseSync(path, { readOnly: true });
    try {
      return database.prepare(query).all();
    } finally {
      database.close();
    }
  };
  return {
    locks: async () => volumeLocks(read('SELECT name FROM ticket_locks').map((row) => row.name)),
    records: async () =>
      byName(
        read('SELECT key, value FROM records').map(({ key, value }) => [String(key), `${value}`]),
      ),
  };
}

export function etcdView(etcd: Etcd, prefix = '/berth'): StoreView {
  const read = async (folder: string): Promise<[key: string, value: string][]> => {
    const answer = await etcd.ctlOk('get', '--prefix', `${prefix}/${folder}/`, '-w', 'json');
    return kvsSchema
      .parse(JSON.parse(answer))
      .kvs.map(({ key, value }) => [decode(key).slice(prefix.length + folder.length + 2), value])
      .map(([key = '', value = '']) => [key, decode(value)]);
  };
  return {
    locks: async () =>
      volumeLocks(
        (await read('locks')).map(([key]) => decodeURIComponent(key.split('/')[0] ?? '')),
      ),
    records: async () => byName(await read('records')),
  };
}

const kvsSchema = z.object({
  kvs: z.array(z.object({ key: z.string(), value: z.string() })).default([]),
});

function decode(base64: string): string {
  return Buffer.from(base64, 'base64').toString();
}

/** Leaves out the hosts' own locks, which each daemon holds while it runs. */
function volumeLocks(names: readonly unknown[]): string[] {
  return names
    .map(String)
    .filter((name) => !name.startsWith('host/'))
    .sort();
}

function byName(rows: readonly (readonly [key: string, value: string])[]) {
  return Object.fromEntries(
    rows
      .filter(([key]) => key.startsWith('volumes/'))
      .map(([key, value]): [string, unknown] => [key.slice('volumes/'.length), JSON.parse(value)]),
  );
}
