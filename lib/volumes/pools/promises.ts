import createDebug from 'debug';
import { z } from 'zod';
import type { StoreMirror } from '../../lock/engine/store-mirror.ts';
import { LockLostError } from '../../lock/errors.ts';
import type { Lock } from '../../lock/lock.ts';
import type { RecordWrite, StoredRecord, TicketStore } from '../../lock/stores/ticket-store.ts';
import type { Clock } from '../../running/clock.ts';
import { UnavailableError } from '../errors.ts';
import { plainText, readStored, UnreadableRecordError } from '../stored-text.ts';
import type { EarlierPromises } from './earlier-promises.ts';
import { beforeLimit, waitLimit } from './earlier-promises.ts';

const log = createDebug('berth:pool');

/*
 * The space that operations under way will need, as all hosts of a cluster see it: a volume's record is written
 * last, so two hosts that create volumes at one moment would not see each other's.
 *
 *     announce: write promises/DRIVER/NONCE ──► wait until the mirror has come so far ──► count all earlier ones
 *     work on the storage
 *     commit:   the record of the volume, and the end of the promise, in one step
 *
 * Of two operations, the one whose promise has the larger revision counts the other's: as a promise, or, in the
 * state of any later revision, as the record that its commit has put in the place of the promise. So together they
 * never promise what is there once. The earlier one does not count the later one, so both can't refuse each other.
 * Promises and records are read in one moment, or the commit in between would count twice. Who has no room only
 * because of earlier promises waits for a while until they have ended: the earlier one may be refused itself.
 *
 * A promise counts while its operation's ticket stands, because the commit is guarded by that ticket. One that a
 * crash, or the loss of the lock, has left counts no more; the next announcement of any host deletes it.
 */

const promiseSchema = z.looseObject({
  version: z.literal(1),
  bytes: z.number().int().nonnegative(),
  /** The nonce of the operation's ticket. */
  ticket: plainText,
  /** The host, for a person who reads the store. */
  host: plainText,
});

const keyPrefix = 'promises/';
/** The longest that the mirror may take to report this host's own write. */
const mirrorLimitMs = 5_000;

/** True for the key of a promise. */
export function isPromiseKey(key: string): boolean {
  return key.startsWith(keyPrefix);
}

/** Reads a promise. Throws UnreadableRecordError if this release can't use it. */
export function readPromise(stored: StoredRecord): z.infer<typeof promiseSchema> {
  return readStored(stored, promiseSchema, { what: 'a promise of space' });
}

export interface PromisesOptions {
  readonly mirror: Pick<StoreMirror, 'record' | 'records' | 'revision' | 'ticket' | 'listen'>;
  readonly store: Pick<TicketStore, 'record'>;
  readonly clock: Clock;
  /** The name of this host. */
  readonly host: string;
}

/** A promise of space that other hosts know of. */
export interface Announced extends EarlierPromises {
  /** The write that ends the promise, for the commit of the operation. */
  readonly end: RecordWrite;
  /** Ends the promise of an operation that has failed. */
  withdraw(): Promise<void>;
}

/** The promises of space of all hosts of a cluster. */
export class Promises {
  readonly #options: PromisesOptions;

  constructor(options: PromisesOptions) {
    this.#options = options;
  }

  /**
   * Makes a promise known to all hosts. When it resolves, the mirror has all that was promised before. Rejects
   * the error of the lock or of the store, and UnavailableError if the store's changes do not arrive here.
   */
  async announce(driver: string, bytes: number, lock: Lock): Promise<Announced> {
    const { host } = this.#options;
    const key = `${keyPrefix}${driver}/${lock.ticket.nonce}`;
    const value = JSON.stringify({ version: 1, bytes, ticket: lock.ticket.nonce, host });
    const left = this.#promises().filter(({ isLeft }) => isLeft);
    await lock.guard([
      { key, value },
      ...left.map(({ stored }) => ({ key: stored.key, value: undefined })),
    ]);
    const end = { key, value: undefined };
    const earlierBytes = () => this.#earlier(driver, key);
    const limit = waitLimit(this.#options.clock);
    const announced: Announced = {
      earlierBytes,
      untilFewer: (than) => this.#until(() => earlierBytes() < than, limit.leftMs()),
      end,
      withdraw: () => lock.guard([end]).catch(ignoreLoss),
    };
    try {
      await this.#untilReported(key);
    } catch (error) {
      await announced.withdraw();
      throw error;
    }
    return announced;
  }

  #earlier(driver: string, key: string): number {
    const all = this.#promises().filter(({ stored }) =>
      stored.key.startsWith(`${keyPrefix}${driver}/`),
    );
    const own = all.find(({ stored }) => stored.key === key)?.stored.revision ?? 0;
    const earlier = all.filter(({ stored, isLeft }) => !isLeft && stored.revision < own);
    return earlier.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** Lists all promises, and whether their operations have ended without them. */
  #promises() {
    const { mirror } = this.#options;
    return [...mirror.records()].flatMap((stored) => {
      if (!isPromiseKey(stored.key)) return [];
      try {
        const { bytes, ticket } = readPromise(stored);
        // The mirror has this host's own writes at once, but its tickets only from the store.
        const isLeft = stored.revision <= mirror.revision && mirror.ticket(ticket) === undefined;
        return [{ stored, bytes, isLeft }];
      } catch (error) {
        if (!(error instanceof UnreadableRecordError)) throw error;
        log('%s', error.message); // The doctor shows it.
        return [];
      }
    });
  }

  /** Waits until the mirror has reported a record of this host, and so everything before it. */
  async #untilReported(key: string): Promise<void> {
    const { mirror, store } = this.#options;
    const { revision } = mirror.record(key) ?? (await store.record(key)) ?? { revision: 0 };
    if (await this.#until(() => mirror.revision >= revision, mirrorLimitMs)) return;
    throw new UnavailableError(
      "the store's changes do not arrive at this host, so it is not known how much space is promised; " +
        'nothing was changed',
    );
  }

  /** Waits until something is true of the mirror. False: it is not, after that time. */
  async #until(isTrue: () => boolean, limitMs: number): Promise<boolean> {
    if (isTrue()) return true;
    const { mirror, clock } = this.#options;
    const reported = Promise.withResolvers<true>();
    using _listening = mirror.listen(() => {
      if (isTrue()) reported.resolve(true);
    });
    return await beforeLimit(reported.promise, clock, limitMs);
  }
}

/** A promise without its ticket counts no more. */
function ignoreLoss(error: unknown): void {
  if (!(error instanceof LockLostError)) throw error;
}
