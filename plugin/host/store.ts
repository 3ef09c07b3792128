import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { embeddedStore } from '../../lib/lock/stores/embedded/store.ts';
import type { TicketStore } from '../../lib/lock/stores/ticket-store.ts';
import type { Config } from '../config/config.ts';
import { historyFile } from './history-file.ts';
import { membersFile } from './members-file.ts';

type EtcdSettings = Extract<Config['store'], { kind: 'etcd' }>;

/** Opens the configured store. Rejects when a configured file can't be read. */
export async function openStore(config: Config): Promise<TicketStore> {
  const { store, stateDir } = config;
  if (store.kind === 'embedded') {
    const memoryPath = join(stateDir, 'history-embedded');
    return embeddedStore({ path: join(stateDir, 'berth.db'), memoryPath });
  }
  return await openEtcd(store, config);
}

/** Loads etcd's client, whose gRPC takes 20 MB, only where it is used. */
async function openEtcd(
  store: EtcdSettings,
  { prefix, stateDir, host, ttlMs }: Config,
): Promise<TicketStore> {
  const { EtcdClient } = await import('../../lib/etcd/client.ts');
  const { EtcdStore } = await import('../../lib/lock/stores/etcd/store.ts');
  const { user, passwordFile } = store;
  const certificates = () => readCertificates(store);
  const password = async () => (await read(passwordFile)).toString().trim();
  // A file that can't be read ends the start; later, it only makes the next connection or login fail.
  await Promise.all([store.tls && certificates(), user && password()]);
  const client = new EtcdClient({
    endpoints: store.endpoints,
    ...(store.tls ? { tls: certificates } : {}),
    ...(user && passwordFile ? { auth: { user, password } } : {}),
    memory: await membersFile(join(stateDir, 'members-etcd'), store.endpoints),
  });
  const memory = await historyFile(join(stateDir, 'history-etcd'), prefix);
  return new EtcdStore(client, prefix, { memory, host, ttlMs });
}

/** Reads the files at each connection: they may have been replaced, by a renewal for example. */
async function readCertificates({ caFile, certFile, keyFile }: EtcdSettings) {
  const files = [caFile, certFile, keyFile];
  const [ca, cert, key] = await Promise.all(files.map((path) => path && readFile(path)));
  return { ca: ca || undefined, cert: cert || undefined, key: key || undefined };
}

async function read(path: string | undefined): Promise<Buffer> {
  return path ? await readFile(path) : Buffer.alloc(0);
}
