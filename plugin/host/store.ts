import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { embeddedStore } from '../../lib/lock/stores/embedded/store.ts';
import type { TicketStore } from '../../lib/lock/stores/ticket-store.ts';
import type { Config } from '../config/config.ts';

type EtcdSettings = Extract<Config['store'], { kind: 'etcd' }>;

/** Opens the configured store. Rejects when a configured file can't be read. */
export async function openStore({ store, prefix, stateDir }: Config): Promise<TicketStore> {
  if (store.kind === 'embedded') return embeddedStore({ path: join(stateDir, 'berth.db') });
  return await openEtcd(store, prefix);
}

/** Loads etcd's client, whose gRPC takes 20 MB, only where it is used. */
async function openEtcd(store: EtcdSettings, prefix: string): Promise<TicketStore> {
  const { EtcdClient } = await import('../../lib/etcd/client.ts');
  const { EtcdStore } = await import('../../lib/lock/stores/etcd/store.ts');
  const [ca, cert, key, password] = await Promise.all(
    [store.caFile, store.certFile, store.keyFile, store.passwordFile].map(
      async (path) => path && (await readFile(path)),
    ),
  );
  const client = new EtcdClient({
    endpoints: store.endpoints,
    ...(store.tls ? { tls: { ca: asBuffer(ca), cert: asBuffer(cert), key: asBuffer(key) } } : {}),
    ...(store.user && password
      ? { auth: { user: store.user, password: password.toString().trim() } }
      : {}),
  });
  return new EtcdStore(client, prefix);
}

function asBuffer(content: Buffer | '' | undefined): Buffer | undefined {
  return content || undefined;
}
