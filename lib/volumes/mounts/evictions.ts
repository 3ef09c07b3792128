import { randomUUID } from 'node:crypto';
import createDebug from 'debug';
import { z } from 'zod';
import type { StoreMirror } from '../../lock/engine/store-mirror.ts';
import { LockClearRefusedError } from '../../lock/errors.ts';
import type { TicketStore } from '../../lock/stores/ticket-store.ts';
import type { Ticket } from '../../lock/ticket.ts';
import type { ClearRequest, LockClearer } from '../../lock/use/lock-service.ts';
import { queueOf } from '../../lock/use/queue.ts';
import { lockName } from '../../lock/use/use.ts';
import type { Catalog } from '../records/catalog.ts';
import { mountMarkKey } from '../records/catalog.ts';
import type { MountRecovery } from './mount-recovery.ts';

const log = createDebug('berth:mount');

const keyPrefix = 'evictions/';

const evictionSchema = z.object({
  volume: z.string(),
  /** Of the lock that is to be let go. */
  token: z.number(),
  /** The host whose operator asks. */
  by: z.string(),
  nonce: z.string(),
});

export interface EvictionsOptions {
  readonly locks: LockClearer;
  readonly store: Pick<TicketStore, 'commit' | 'record'>;
  readonly mirror: StoreMirror;
  readonly catalog: Catalog;
  readonly recovery: Pick<MountRecovery, 'evict'>;
  readonly host: string;
  /** How long a living holder is given: when it has not been heard by then, its fence has fallen. */
  readonly limitMs: number;
}

/**
 * How a lock is cleared whose holder lives. Taking its ticket away at once would let another host
 * write beside it, so it is asked, through a record in the store, to let go: it ends the containers
 * that use the volume, unmounts, and releases the lock itself.
 */
export class Evictions implements LockClearer {
  readonly #options: EvictionsOptions;
  readonly #obeying = new Set<string>();

  constructor(options: EvictionsOptions) {
    this.#options = options;
  }

  /** Clears a lock, also of a host that is alive; resolves when nobody uses the volume under that lock any more. */
  async clearLock(request: ClearRequest): Promise<Ticket> {
    const ticket = this.#mounted(request);
    if (!ticket) return this.#options.locks.clearLock(request);
    try {
      return await this.#clearForGood({ ...request, force: false });
    } catch (error) {
      if (!(error instanceof LockClearRefusedError) || !request.force) throw error;
    }
    await this.#evict(ticket, request);
    return ticket;
  }

  /** Lets go of what this host is asked to, until disposed. */
  follow(): Disposable {
    return this.#options.mirror.listen(() => {
      for (const record of this.#options.mirror.records()) {
        if (record.key.startsWith(keyPrefix)) void this.#obey(record.value);
      }
    });
  }

  /** A failure is tried again with the other mounts that are to be fenced. */
  async #obey(value: string): Promise<void> {
    if (this.#obeying.has(value)) return;
    this.#obeying.add(value);
    try {
      const { volume, token, by } = evictionSchema.parse(JSON.parse(value));
      await this.#options.recovery.evict(volume, token, `an operator on host ${by}`);
    } catch (error) {
      log('ERROR %s: %s', value, error);
    } finally {
      this.#obeying.delete(value);
    }
  }

  /** The ticket, when it stands for a mount that can be fenced. */
  #mounted({ volume, token }: ClearRequest): Ticket | undefined {
    const { mirror, catalog } = this.#options;
    const { holders } = queueOf(mirror.ticketsOn(lockName('mount', volume)));
    const ticket = holders.find((holder) => holder.token === token);
    if (ticket?.kind !== 'mount') return undefined;
    return catalog.get(volume)?.onLost === 'keep' ? undefined : ticket;
  }

  /** Its host must not take the lock again, as if nobody had asked for the volume meanwhile. */
  async #clearForGood(request: ClearRequest): Promise<Ticket> {
    const { store, locks } = this.#options;
    const key = mountMarkKey(request.volume);
    const before = await store.record(key);
    const cleared = { key, value: `cleared ${randomUUID()}` };
    const { revision } = await store.commit({ guards: [], writes: [cleared], release: [] });
    try {
      return await locks.clearLock(request);
    } catch (error) {
      const restored = { key, value: before?.value, expectedRevision: revision };
      await store.commit({ guards: [], writes: [restored], release: [] }).catch((reason) => {
        // Somebody has marked it since, or the store is away: the mark stays broken, which is safe.
        log('volume=%s: %s', request.volume, reason);
      });
      throw error;
    }
  }

  async #evict(ticket: Ticket, request: ClearRequest): Promise<void> {
    const { store, host, limitMs } = this.#options;
    const { volume, token } = request;
    const key = keyPrefix + volume;
    const value = JSON.stringify({ volume, token, by: host, nonce: randomUUID() });
    await store.commit({ guards: [], writes: [{ key, value }], release: [] });
    try {
      if (await this.#isGone(ticket, request.signal, limitMs)) return;
      log('volume=%s token=%d was not let go in time', volume, token);
      await this.#clearForGood(request);
    } finally {
      await store.commit({ guards: [], writes: [{ key, value: undefined }], release: [] });
    }
  }

  /** Waits for the ticket to go; false when the time is up, or the operator has left. */
  async #isGone({ nonce }: Ticket, signal: AbortSignal, limitMs: number): Promise<boolean> {
    const { mirror } = this.#options;
    const { promise, resolve } = Promise.withResolvers<void>();
    const look = () => {
      if (mirror.isLive && !mirror.ticket(nonce)) resolve();
    };
    using _listening = mirror.listen(look);
    const limit = setTimeout(resolve, limitMs);
    signal.addEventListener('abort', () => resolve(), { once: true });
    look();
    await promise;
    clearTimeout(limit);
    signal.throwIfAborted();
    return mirror.ticket(nonce) === undefined;
  }
}
