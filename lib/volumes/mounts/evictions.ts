import { randomUUID } from 'node:crypto';
import createDebug from 'debug';
import { z } from 'zod';
import type { MirrorEvent, StoreMirror } from '../../lock/engine/store-mirror.ts';
import { LockClearRefusedError, RecordConflictError } from '../../lock/errors.ts';
import type { TicketStore } from '../../lock/stores/ticket-store.ts';
import type { Ticket } from '../../lock/ticket.ts';
import type { ClearRequest, LockClearer } from '../../lock/use/lock-service.ts';
import { lockQueueOf } from '../../lock/use/queue.ts';
import { lockName } from '../../lock/use/use.ts';
import type { Clock } from '../../running/clock.ts';
import type { Catalog } from '../records/catalog.ts';
import { mountMarkKey } from '../records/catalog.ts';
import type { StoredText } from '../stored-text.ts';
import { plainText, readStored, UnreadableRecordError } from '../stored-text.ts';
import { isVolumeName } from '../volume.ts';
import type { MountRecovery } from './mount-recovery.ts';

const log = createDebug('berth:mount');

const keyPrefix = 'evictions/';

const evictionSchema = z.object({
  /** The format; absent: 1. */
  version: z.literal(1).optional(),
  volume: z.string().refine(isVolumeName, 'is no name'),
  /** The token of the lock that its host should release. */
  token: z.int(),
  /** The host whose operator asks. */
  by: plainText,
  nonce: z.string(),
});

/** Reads an eviction. Throws UnreadableRecordError for what is none, or has the name of another volume. */
export function readEviction(stored: StoredText): z.infer<typeof evictionSchema> {
  const what = "an operator's request to give up a volume";
  const named = evictionSchema.refine(({ volume }) => stored.key === keyPrefix + volume, {
    message: 'has another name than its key',
  });
  return readStored(stored, named, { what });
}

/** True for the key of an eviction. */
export function isEvictionKey(key: string): boolean {
  return key.startsWith(keyPrefix);
}

type Asked = z.infer<typeof evictionSchema> & { readonly text: string };

export interface EvictionsOptions {
  readonly locks: LockClearer;
  readonly store: Pick<TicketStore, 'commit' | 'record'>;
  readonly mirror: StoreMirror;
  readonly catalog: Catalog;
  readonly recovery: Pick<MountRecovery, 'evict'>;
  readonly clock: Clock;
  readonly host: string;
  /** How long a living holder is given: by then the holder's own sentinel has fenced it. */
  readonly limitMs: number;
}

/**
 * Clears a lock whose holder lives. Removing its ticket at once would let another host write beside
 * it, so a record in the store asks the holder's host to give up the volume: that host ends the
 * containers that use the volume, unmounts it, and releases the lock itself.
 */
export class Evictions implements LockClearer {
  readonly #options: EvictionsOptions;
  /** The records that ask a host to give up a volume, by key. */
  readonly #asked = new Map<string, Asked>();
  readonly #obeying = new Set<string>();

  constructor(options: EvictionsOptions) {
    this.#options = options;
  }

  /**
   * Clears a lock, also of a host that is alive. Resolves when nobody uses the volume under that
   * lock any more.
   */
  async clearLock(request: ClearRequest): Promise<Ticket> {
    const ticket = this.#mounted(request);
    if (!ticket) return this.#options.locks.clearLock(request);
    return await this.#withoutMark(ticket, request.volume, async () => {
      try {
        return await this.#options.locks.clearLock({ ...request, force: false });
      } catch (error) {
        if (!(error instanceof LockClearRefusedError) || !request.force) throw error;
      }
      await this.#evict(ticket, request);
      return ticket;
    });
  }

  /** Gives up the volumes that other hosts' operators ask this host to give up, until disposed. */
  follow(): Disposable {
    return this.#options.mirror.listen((event) => {
      this.#note(event);
      // Again at each event: a volume that can't be given up now may be one that can be later.
      for (const asked of this.#asked.values()) void this.#obey(asked);
    });
  }

  /** Keeps `#asked` as the store has it, without a look at other records unless all were read. */
  #note(event: MirrorEvent): void {
    if (event.kind !== 'change' && event.kind !== 'reset') return;
    if (event.kind === 'reset') this.#asked.clear();
    const { records, removedRecords } =
      event.kind === 'change'
        ? event.change
        : { records: this.#options.mirror.records(), removedRecords: [] };
    for (const key of removedRecords) this.#asked.delete(key);
    for (const stored of records) {
      if (!isEvictionKey(stored.key)) continue;
      try {
        this.#asked.set(stored.key, { ...readEviction(stored), text: stored.value });
      } catch (error) {
        this.#asked.delete(stored.key);
        log('ERROR %s', error); // `berth doctor` shows it, too.
      }
    }
  }

  /** `MountRecovery.adopt` retries an eviction that fails. */
  async #obey({ volume, token, by, text }: Asked): Promise<void> {
    if (this.#obeying.has(text)) return;
    this.#obeying.add(text);
    try {
      await this.#options.recovery.evict(volume, token, `an operator on host ${by}`);
    } catch (error) {
      log('ERROR volume=%s: %s', volume, error);
    } finally {
      this.#obeying.delete(text);
    }
  }

  /** Returns the ticket when it stands for a mount that can be fenced. */
  #mounted({ volume, token }: ClearRequest): Ticket | undefined {
    const { mirror, catalog } = this.#options;
    const { holders } = lockQueueOf(mirror.ticketsOn(lockName('mount', volume)));
    const ticket = holders.find((holder) => holder.token === token);
    if (ticket?.kind !== 'mount') return undefined;
    try {
      return catalog.get(volume)?.onLost === 'keep' ? undefined : ticket;
    } catch (error) {
      if (error instanceof UnreadableRecordError) return ticket; // Its host knows the rule.
      throw error;
    }
  }

  /**
   * Breaks the mount mark first, so that the holder can't re-acquire the lock, also when its session ends before it
   * has answered. Puts the mark back if the lock is not cleared.
   */
  async #withoutMark(
    ticket: Ticket,
    volume: string,
    clear: () => Promise<Ticket>,
  ): Promise<Ticket> {
    const { store } = this.#options;
    const key = mountMarkKey(volume);
    const broken = await this.#breakMark(ticket, key);
    try {
      return await clear();
    } catch (error) {
      if (!broken) throw error;
      const restored = { key, value: broken.before, expectedRevision: broken.revision };
      await store.commit({ guards: [], writes: [restored], release: [] }).catch((reason) => {
        // Somebody has marked it since, or the store is away: the mark stays broken, which is safe.
        log('volume=%s: %s', volume, reason);
      });
      throw error;
    }
  }

  /** Undefined: another request has marked the volume, so the holder's own mark is broken. That request needs its mark. */
  async #breakMark(
    { nonce }: Ticket,
    key: string,
  ): Promise<{ readonly before: string | undefined; readonly revision: number } | undefined> {
    const { store, mirror } = this.#options;
    for (;;) {
      const before = await store.record(key);
      const isOfAnother = before !== undefined && before.value !== nonce;
      if (isOfAnother && mirror.ticket(before.value) !== undefined) return undefined;
      const value = `cleared ${randomUUID()}`;
      const cleared = { key, value, expectedRevision: before?.revision ?? 0 };
      try {
        const { revision } = await store.commit({ guards: [], writes: [cleared], release: [] });
        return { before: before?.value, revision };
      } catch (error) {
        if (!(error instanceof RecordConflictError)) throw error; // Else it has another mark now.
      }
    }
  }

  async #evict(ticket: Ticket, request: ClearRequest): Promise<void> {
    const { store, locks, host, limitMs } = this.#options;
    const { volume, token } = request;
    const key = keyPrefix + volume;
    const value = JSON.stringify({ volume, token, by: host, nonce: randomUUID() });
    const asked = await store.commit({ guards: [], writes: [{ key, value }], release: [] });
    try {
      if (await this.#isGone(ticket, request.signal, limitMs)) return;
      log('volume=%s token=%d was not released in time', volume, token);
      await locks.clearLock({ ...request, force: true }).catch((error) => {
        if (!(error instanceof LockClearRefusedError)) throw error; // Else it has gone this moment.
      });
    } finally {
      const done = { key, value: undefined, expectedRevision: asked.revision };
      await store.commit({ guards: [], writes: [done], release: [] }).catch((error) => {
        if (!(error instanceof RecordConflictError)) throw error; // Another operator asks by now.
      });
    }
  }

  /** Waits for the ticket to go; false when the time is up. Rejects when the operator leaves. */
  async #isGone({ nonce }: Ticket, signal: AbortSignal, limitMs: number): Promise<boolean> {
    const { mirror, clock } = this.#options;
    const gone = new AbortController();
    const look = () => {
      if (mirror.isLive && !mirror.ticket(nonce)) gone.abort();
    };
    using _listening = mirror.listen(look);
    look();
    await clock.sleep(limitMs, AbortSignal.any([signal, gone.signal]));
    signal.throwIfAborted();
    return mirror.ticket(nonce) === undefined;
  }
}
