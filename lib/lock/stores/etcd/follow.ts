import { setTimeout as sleep } from 'node:timers/promises';
import createDebug from 'debug';
import type { EtcdClient } from '../../../etcd/client.ts';
import { prefixRange, readAll } from '../../../etcd/client.ts';
import type { Gate, Ticket } from '../../ticket.ts';
import type { StoreChange, StoredRecord, StoreWatcher } from '../ticket-store.ts';
import type { EtcdKeys } from './keys.ts';

const log = createDebug('berth:store');

const retryMs = 200;

/**
 * Follows everything below the prefix by one long-lived watch. After each break, the whole state is
 * read again: etcd serves a watch that starts in the past only every 100 ms, may cancel it by
 * compaction, and has lost events around compaction in some releases.
 *
 * Keeps `foreign` up to date: the keys with values that berth did not write. The watch skips them,
 * so that one such key does not stop every host.
 */
export function followEtcd(
  client: EtcdClient,
  keys: EtcdKeys,
  watcher: StoreWatcher,
  foreign: Set<string>,
): Disposable {
  const stopping = new AbortController();
  void follow(client, keys, watcher, foreign, stopping.signal);
  return { [Symbol.dispose]: () => stopping.abort() };
}

async function follow(
  client: EtcdClient,
  keys: EtcdKeys,
  watcher: StoreWatcher,
  foreign: Set<string>,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    try {
      await followOnce(client, keys, watcher, foreign, signal);
    } catch {
      // The store is away: reported and retried below.
    }
    if (signal.aborted) return;
    watcher.interrupted();
    await sleep(retryMs, undefined, { ref: false });
  }
}

async function followOnce(
  client: EtcdClient,
  keys: EtcdKeys,
  watcher: StoreWatcher,
  foreign: Set<string>,
  signal: AbortSignal,
): Promise<void> {
  const { revision, kvs: all } = await readAll(client, keys.prefix);
  if (signal.aborted) return;
  foreign.clear();
  for (const kv of all) if (keys.isForeign(kv)) foreign.add(kv.key.toString());
  const kvs = all.filter((kv) => !foreign.has(kv.key.toString()));
  const ticketKvs = kvs.filter((kv) => keys.isTicket(kv.key.toString()));
  /** The ticket under each key, because a delete event has only the key. */
  const standing = new Map(ticketKvs.map((kv) => [kv.key.toString(), keys.parseTicket(kv)]));
  watcher.reset({
    revision,
    tickets: keys.parseTickets(ticketKvs),
    records: kvs.filter((kv) => keys.isRecord(kv.key.toString())).map((kv) => keys.parseRecord(kv)),
    gates: keys.parseGates(kvs),
  });
  const watch = await client.watch(prefixRange(keys.prefix), revision + 1, (events) => {
    if (signal.aborted) return;
    const changes = new Map<number, MutableChange>();
    for (const { type, kv } of events) {
      const at = Number(kv.mod_revision);
      const change = changes.get(at) ?? emptyChange(at);
      changes.set(at, change);
      const key = kv.key.toString();
      const isForeign = type === 'Put' && keys.isForeign(kv);
      if (isForeign) foreign.add(key);
      else foreign.delete(key);
      if (keys.isTicket(key)) {
        const before = standing.get(key);
        if (type === 'Put' && !isForeign) {
          const ticket = keys.parseTicket(kv);
          standing.set(key, ticket);
          change.tickets.set(ticket.nonce, ticket);
        } else if (before) {
          standing.delete(key);
          change.removedTickets.set(before.nonce, before);
        }
      } else if (keys.isRecord(key)) {
        const record = keys.parseRecord(kv);
        if (type === 'Put') change.records.push(record);
        else change.removedRecords.push(record.key);
      } else if (keys.isGate(key)) {
        if (isForeign) continue;
        if (type === 'Put') change.closedGates.push(keys.parseGate(kv));
        else change.openedGates.push(keys.gatedLock(key));
      }
    }
    for (const change of changes.values()) {
      if (!signal.aborted) watcher.change(finished(change)); // The watcher may end the watch.
    }
  });
  const close = () => watch.close();
  signal.addEventListener('abort', close);
  if (signal.aborted) close();
  const reason = await watch.ended;
  if (!signal.aborted) log('the watch has ended (%s): reading the whole state again', reason);
  signal.removeEventListener('abort', close);
  watch.close();
}

interface MutableChange {
  revision: number;
  tickets: Map<string, Ticket>;
  removedTickets: Map<string, Ticket>;
  records: StoredRecord[];
  removedRecords: string[];
  closedGates: Gate[];
  openedGates: string[];
}

function emptyChange(revision: number): MutableChange {
  return {
    revision,
    tickets: new Map(),
    removedTickets: new Map(),
    records: [],
    removedRecords: [],
    closedGates: [],
    openedGates: [],
  };
}

function finished(change: MutableChange): StoreChange {
  return {
    ...change,
    tickets: [...change.tickets.values()],
    removedTickets: [...change.removedTickets.values()].map(({ id, nonce }) => ({ id, nonce })),
  };
}
