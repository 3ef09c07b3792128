import createDebug from 'debug';
import { messageOf } from '../../running/message-of.ts';
import type { Condition } from '../condition.ts';
import { ProofExpiredError, StoreUnavailableError } from '../errors.ts';
import type { HistoryChange } from '../history.ts';
import type { HistoryRecord, RememberedHistory, Verdict } from './history-record.ts';
import type {
  FoundHistory,
  HistoryMemory,
  HistoryOptions,
  HistorySource,
} from './history-source.ts';
import { defaultTtlMs } from './history-source.ts';
import { afterwardsText, quarantineText } from './history-texts.ts';
import type { StoreHistoryName } from './ticket-store.ts';

const log = createDebug('berth:history');

/** How often the revision is saved, at most. */
const saveMs = 1_000;

/** How long a change of history stays a condition after its quarantine. */
const rememberMs = 24 * 3_600_000;

/** How often a call is repeated because something suspicious comes up during it. */
const maxTries = 5;

/** A step has changed nothing, because a suspicion has come up since the history was verified. */
export class HistoryUnverifiedError extends StoreUnavailableError {}

/**
 * Knows which history of a store this process takes part in, and notices another one.
 *
 *     any call of the store ─► ask ─► verified? ── no ─► look: record, revision, signs of the store
 *                               │                          │ judgeHistory
 *                               ▼                          ├─ same, first, joined
 *                            the call                      ├─ followed: tell the engine
 *                               │                          └─ other: tell the engine, then write a
 *                               ▼                             new record and the quarantine
 *          a suspicion meanwhile? ── yes ─► verify, and refuse the answer if the history changed
 *
 * After a suspicion (a broken connection, a missing answer, an answer that does not fit), no answer is
 * believed before a look has shown that the history is the same: the store can't be replaced without one.
 *
 * Not noticed by a host: a copy of the store's data that is as new as everything this host has seen, if
 * the store itself does not show it. Nothing that it saw is then missing; a host that saw more notices,
 * and its quarantine counts for all. After a power cut, the revision that a host remembers may be a
 * second old.
 */
export class StoreHistory<F extends FoundHistory> implements AsyncDisposable {
  readonly #source: HistorySource<F>;
  readonly #options: HistoryOptions;
  readonly #listeners = new Set<(change: HistoryChange) => void>();
  readonly #timer: NodeJS.Timeout;
  #known: RememberedHistory | undefined;
  #record: HistoryRecord | undefined;
  /** The number of suspicions at the last look that settled them. */
  #verified = 0;
  #looking: Promise<void> | undefined;
  #changes = 0;
  /** A change that was noticed, while the store does not have its record yet. */
  #pending: HistoryChange | undefined;
  /** The longest TTL of this process's sessions. */
  #ttlMs = 0;
  /** The highest revision of the known history that the memory has. */
  #savedRevision: number;
  #saving: Promise<void> = Promise.resolve();

  constructor(source: HistorySource<F>, options: HistoryOptions) {
    this.#source = source;
    this.#options = options;
    this.#known = options.memory?.before;
    this.#ttlMs = options.ttlMs ?? 0;
    this.#savedRevision = this.#known?.revision ?? 0;
    if (this.#known) source.signs.begin(this.#known.cluster, this.#known.revision);
    this.#timer = setInterval(() => void this.#saveRevision(), saveMs);
    this.#timer.unref();
  }

  /** The ID of the history that this process takes part in; undefined before the first look. */
  get id(): string | undefined {
    return this.#pending ? undefined : this.#record?.id;
  }

  /** The same, with what its record says of earlier ones. */
  get name(): StoreHistoryName | undefined {
    if (this.#pending || !this.#record) return undefined;
    return { id: this.#record.id, isFirst: this.#record.past.length === 0 };
  }

  /** True: no suspicion has come up since the last look. */
  get isVerified(): boolean {
    return this.#verified === this.#source.signs.suspicions;
  }

  /** Calls `listener` within the call that notices another history, until disposed. */
  onChange(listener: (change: HistoryChange) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => this.#listeners.delete(listener) };
  }

  /**
   * Makes a call of the store. Rejects StoreUnavailableError if the history changed during it. A call that
   * rejects HistoryUnverifiedError is repeated after a look.
   */
  async ask<T>(call: () => Promise<T>): Promise<T> {
    const { signs, name } = this.#source;
    for (let tries = 1; ; tries += 1) {
      await this.#verify();
      const { suspicions } = signs;
      const changes = this.#changes;
      try {
        const answer = await call();
        if (signs.suspicions !== suspicions) await this.#verify();
        if (this.#changes === changes) return answer;
      } catch (error) {
        if (error instanceof HistoryUnverifiedError && tries < maxTries) continue;
        throw error;
      }
      throw new StoreUnavailableError(`${name} was put back to another state during the call`);
    }
  }

  /**
   * Resolves when each suspicion so far has been looked into: the history is the same, or the listeners
   * know of the other one. Rejects while the store does not answer.
   */
  settled(): Promise<void> {
    return this.#verify();
  }

  /** Looks at once whether the history is the same; never rejects. */
  async check(): Promise<void> {
    this.#source.signs.suspect();
    await this.#verify().catch((error) => log('no look at the history yet: %s', messageOf(error)));
  }

  /** Makes the quarantine after this history at least as long as the TTL of a session. */
  async cover(ttlMs: number): Promise<void> {
    if (!Number.isFinite(ttlMs)) return;
    this.#ttlMs = Math.max(this.#ttlMs, ttlMs);
    for (;;) if (await this.#raiseTtl()) return;
  }

  /** Throws unless the quarantine, which is on or not, lets a request with this proof be granted. */
  requireOpen(isQuarantined: boolean, proof: number | undefined): void {
    if (proof === undefined) {
      if (isQuarantined) throw new StoreUnavailableError(this.#quarantineText());
      return;
    }
    this.requireLast(proof);
    if (!isQuarantined)
      throw new ProofExpiredError('the quarantine in which the lock could be put back is over');
  }

  /** Throws for a proof of another change than the last one. */
  requireLast(proof: number): void {
    if (proof === this.#changes && !this.#pending) return;
    const { name } = this.#source;
    throw new ProofExpiredError(`${name} was put back again since the lock was held`);
  }

  async conditions(): Promise<Condition[]> {
    const found = await this.#source.read().catch(() => undefined);
    const why = found?.record?.why;
    if (!found?.record || why === undefined) return [];
    if (found.isQuarantined) return [{ severity: 'error', message: this.#quarantineText() }];
    if (Date.now() - Date.parse(found.record.since) > rememberMs) return [];
    const message = afterwardsText(why, found.record.since);
    return [{ severity: 'warning', message }];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    await this.#saveRevision();
  }

  #quarantineText(): string {
    const why = this.#record?.why ?? `${this.#source.name} was put back`;
    const ttlMs = Math.max(this.#ttlMs, this.#record?.ttlMs ?? 0) || defaultTtlMs;
    return quarantineText(why, ttlMs);
  }

  async #verify(): Promise<void> {
    while (!this.isVerified) {
      this.#looking ??= this.#look().finally(() => {
        this.#looking = undefined;
      });
      await this.#looking;
    }
  }

  async #look(): Promise<void> {
    const { signs } = this.#source;
    const { suspicions } = signs;
    for (;;) {
      const floor = signs.revision;
      const found = await this.#source.read();
      const verdict = this.#source.judge(found, this.#known, floor);
      if (await this.#settle(verdict, found)) break;
    }
    this.#verified = suspicions;
  }

  /** False: another host has written the record meanwhile. */
  async #settle(verdict: Verdict, found: F): Promise<boolean> {
    const { is } = verdict;
    if (is === 'same') {
      // A change that is pending here was recorded by a call whose answer was lost.
      this.#record = found.record;
      this.#pending = undefined;
      return true;
    }
    if (is === 'followed' || is === 'other') this.#notice(verdict.why);
    const isWritten = is === 'first' || is === 'other';
    const why = is === 'other' ? verdict.why : undefined;
    const { host } = this.#options;
    const own = { why, host, known: this.#known, ttlMs: this.#ttlMs };
    const record = isWritten ? await this.#source.write(found, own) : found.record;
    if (!record) return false;
    await this.#enter(record, found.revision);
    return true;
  }

  #notice(why: string): void {
    if (this.#pending) return;
    this.#changes += 1;
    this.#pending = { number: this.#changes, why };
    log('ERROR %s', why);
    for (const listener of [...this.#listeners]) listener(this.#pending);
  }

  async #enter(record: HistoryRecord, revision: number): Promise<void> {
    const { id, cluster } = record;
    const known = { id, cluster, revision, ttlMs: Math.max(this.#ttlMs, record.ttlMs) };
    await this.#inTurn(async (memory) => {
      await memory?.save(known);
      this.#savedRevision = revision;
      this.#record = record;
      this.#known = known;
      this.#pending = undefined;
      this.#source.signs.begin(cluster, revision);
    });
  }

  /** False: another host has written the record meanwhile. */
  async #raiseTtl(): Promise<boolean> {
    const record = this.#record;
    if (!record || record.ttlMs >= this.#ttlMs) return true;
    const found = await this.#source.read();
    if (found.record?.id !== record.id || found.record.ttlMs >= this.#ttlMs) return true;
    const raised = { ...found.record, ttlMs: this.#ttlMs };
    const succeeded = await this.#source.raiseTtl(found, raised);
    if (succeeded) this.#record = raised;
    return succeeded;
  }

  /**
   * Saves the highest revision that was seen, also while a change is not recorded yet: if this process
   * ends before it is, only the revision shows the change to the next one.
   */
  async #saveRevision(): Promise<void> {
    if (this.#isSaved) return;
    const saving = this.#inTurn(async (memory) => {
      const known = this.#known;
      // Another history may have been saved since.
      if (!known || this.#isSaved) return;
      const { revision } = this.#source.signs;
      await memory?.save({ ...known, revision });
      this.#savedRevision = revision;
    });
    await saving.catch((error) => log('not saved: %s', messageOf(error)));
  }

  get #isSaved(): boolean {
    return !this.#known || this.#savedRevision >= this.#source.signs.revision;
  }

  /** Saves one at a time, in order, so that the memory never has an earlier history than this process. */
  #inTurn(save: (memory: HistoryMemory | undefined) => Promise<void>): Promise<void> {
    const saving = this.#saving.then(() => save(this.#options.memory));
    this.#saving = saving.catch(() => {
      // The caller handles the error.
    });
    return saving.catch((error) => {
      throw new StoreUnavailableError(
        `can't save which history of ${this.#source.name} this host takes part in: ${messageOf(error)}`,
      );
    });
  }
}
