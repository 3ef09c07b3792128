import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import type { EtcdOptions } from '../../etcd/options.ts';
import { LockUnsupportedError } from '../errors.ts';
import type { PostgresPool } from '../stores/postgres/connection-options.ts';
import type { TicketStore } from '../stores/ticket-store.ts';
import type { Etcd3Client } from './etcd-settings.ts';
import { etcdSettings } from './etcd-settings.ts';
import { loadedFrom } from './missing-package.ts';
import type { EtcdAddress, StoreAddress } from './store-address.ts';
import { certificateFiles, defaultPrefix, parseStoreAddress } from './store-address.ts';

/** Where the locks are kept: an address, or a client that the program has already. */
export type LockPlace =
  | string
  | {
      /**
       * A `pg.Pool`. The locks open connections of their own by its settings, and leave the pool to its
       * owner: a renewal must not wait for a connection that a holder's own queries have.
       */
      readonly pool: PostgresPool;
      /** The schema of the tables. Default `berth`. */
      readonly schema?: string | undefined;
    }
  | {
      /** An `Etcd3` of the package etcd3, or settings. The locks open connections of their own by them. */
      readonly etcd: Etcd3Client | EtcdOptions;
      /** The first part of all keys. Default `/berth-locks`. */
      readonly prefix?: string | undefined;
    }
  | {
      /** A store that the program has opened, and closes itself. */
      readonly store: TicketStore;
    };

/** The program that opens a store. */
export interface StoreUser {
  readonly host: string;
  readonly ttlMs: number;
}

/** Opens a store. `isOurs`: whoever closes the locks closes the store, too. */
export async function openStore(
  place: LockPlace,
  user: StoreUser,
): Promise<{ readonly store: TicketStore; readonly isOurs: boolean }> {
  if (typeof place === 'string') {
    return { store: await openAddress(parseStoreAddress(place), user), isOurs: true };
  }
  // A client that is undefined is left out, as `checkPlace` says.
  if ('store' in place && place.store !== undefined) return { store: place.store, isOurs: false };
  return { store: await newStore(place, user), isOurs: true };
}

async function newStore(place: Exclude<LockPlace, string>, user: StoreUser): Promise<TicketStore> {
  if ('pool' in place && place.pool !== undefined) {
    return openPostgres({ pool: place.pool, schema: place.schema }, user);
  }
  if ('etcd' in place && place.etcd !== undefined) {
    return openEtcd(etcdSettings(place.etcd), place.prefix ?? defaultPrefix, user);
  }
  throw new RangeError('the place of locks has neither a pool nor an etcd nor a store');
}

async function openAddress(address: StoreAddress, user: StoreUser): Promise<TicketStore> {
  switch (address.kind) {
    case 'memory':
      return (await import('../stores/memory/store.ts')).memoryStore();
    case 'sqlite':
      return openFile(address.path);
    case 'postgres':
      return openPostgres(address, user);
    case 'kubernetes':
      return (await import('../stores/kubernetes/store.ts')).kubernetesStore({
        name: address.name,
        ...(address.namespace !== undefined && { namespace: address.namespace }),
      });
    case 'etcd':
      return openEtcd(await settingsOf(address), address.prefix, user);
  }
}

async function openFile(path: string): Promise<TicketStore> {
  if (!existsSync('/proc/self/stat')) {
    throw new LockUnsupportedError(
      `locks in the file ${path} need Linux and its /proc, which shows the processes that have ended; elsewhere use memory:, etcd:// or postgres://`,
    );
  }
  const { embeddedStore } = await import('../stores/embedded/store.ts');
  return embeddedStore({ path });
}

async function openPostgres(
  options: {
    readonly url?: string;
    readonly pool?: PostgresPool;
    readonly schema?: string | undefined;
  },
  user: StoreUser,
): Promise<TicketStore> {
  const { url, pool, schema } = options;
  const { postgresStore } = await loadedFrom(
    () => import('../stores/postgres/store.ts'),
    'PostgreSQL',
    ['pg'],
  );
  return postgresStore({ url, pool, ...(schema === undefined ? {} : { schema }), history: user });
}

async function openEtcd(
  options: EtcdOptions,
  prefix: string,
  user: StoreUser,
): Promise<TicketStore> {
  const packages = ['etcd3', '@grpc/grpc-js', 'cockatiel'];
  const { EtcdClient } = await loadedFrom(() => import('../../etcd/client.ts'), 'etcd', packages);
  const { EtcdStore } = await import('../stores/etcd/store.ts');
  return new EtcdStore(new EtcdClient(options), prefix, user);
}

/** The files are read at each connection, because they may have been renewed; now, to find a mistake. */
async function settingsOf(address: EtcdAddress): Promise<EtcdOptions> {
  const { endpoints, isSecure, auth, files } = address;
  const tls = async () => {
    const [ca, cert, key] = await Promise.all(
      certificateFiles.map((name) => files[name] && readFile(files[name])),
    );
    return { ca: ca || undefined, cert: cert || undefined, key: key || undefined };
  };
  if (isSecure) await tls();
  return { endpoints, auth, ...(isSecure ? { tls } : {}) };
}
