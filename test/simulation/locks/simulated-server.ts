import type { HistoryRecord, RememberedHistory } from '../../../lib/lock/stores/history-record.ts';
import { pastOf } from '../../../lib/lock/stores/history-record.ts';
import type { FoundHistory, NewHistory } from '../../../lib/lock/stores/history-source.ts';
import { defaultTtlMs } from '../../../lib/lock/stores/history-source.ts';
import type { StoreState, TicketStore } from '../../../lib/lock/stores/ticket-store.ts';
import { randomStream } from '../random.ts';
import type { Party, Scheduler } from '../scheduler.ts';
import type { PutBackCommand } from './commands.ts';
import type { Happening } from './history.ts';
import { HostClock } from './host-clock.ts';
import { RecordedStore } from './recorded-store.ts';
import { ReplayedStore } from './replayed-store.ts';

export interface ServerOptions {
  readonly scheduler: Scheduler;
  readonly party: Party;
  readonly seed: number;
  readonly record: (happening: Happening) => void;
}

/** One look at the server. */
export interface SimulatedLook extends FoundHistory {
  readonly cluster: string;
}

interface Quarantine {
  readonly id: string;
  readonly until: number;
}

/** By how many steps `bumped` raises the revision: above all that was lost. */
const bumpMargin = 5;

/**
 * The server of the store. It can be put back to an earlier state at any step: tickets, gates, records
 * and sessions, and its own record of the history with the quarantine.
 */
export class SimulatedServer implements Disposable {
  readonly store: RecordedStore;
  readonly #options: ServerOptions;
  #replayed: ReplayedStore;
  #clock: HostClock;
  /** The versions of the record and of the quarantine, each with its time by the store's clock. */
  #versions: { at: number; record: HistoryRecord; quarantine: Quarantine | undefined }[] = [];
  #cluster = 1;
  /** Counts the starts of the server: a connection is to one of them. */
  #life = 1;
  #histories = 0;

  constructor(options: ServerOptions) {
    this.#options = options;
    this.#clock = this.#clockFrom(0);
    this.#replayed = new ReplayedStore(this.#clock);
    this.store = new RecordedStore(this.#replayed.store, options.record);
  }

  get life(): number {
    return this.#life;
  }

  get cluster(): string {
    return `cluster ${this.#cluster}`;
  }

  get revision(): number {
    return this.store.revision;
  }

  /** The number of timers of the store. */
  get sleeping(): number {
    return this.#clock.sleeping;
  }

  /** The ID of the history whose quarantine is on. */
  get quarantine(): string | undefined {
    const { quarantine } = this.#versions.at(-1) ?? {};
    return quarantine && quarantine.until > this.#replayed.now ? quarantine.id : undefined;
  }

  look(): SimulatedLook {
    return {
      record: this.#versions.at(-1)?.record,
      isQuarantined: this.quarantine !== undefined,
      revision: this.revision,
      cluster: this.cluster,
    };
  }

  /** Writes the record of a new history, unless another host has written one meanwhile. */
  write(found: SimulatedLook, begun: NewHistory): HistoryRecord | undefined {
    if (found.record !== this.#versions.at(-1)?.record) return undefined;
    this.#histories += 1;
    const { why, host, known } = begun;
    const ttlMs = Math.max(begun.ttlMs, found.record?.ttlMs ?? 0, known?.ttlMs ?? 0);
    const id = `history ${this.#histories}`;
    const record: HistoryRecord = {
      id,
      since: '2026-01-01T00:00:00Z',
      ...(why !== undefined && { why, by: host }),
      cluster: found.cluster,
      past: pastOf(found.record, known),
      ttlMs,
    };
    const { now } = this.#replayed;
    const quarantine = why === undefined ? undefined : { id, until: now + (ttlMs || defaultTtlMs) };
    this.#versions.push({ at: now, record, quarantine });
    return record;
  }

  /** Replaces the record by one with a longer TTL, unless another host has written one meanwhile. */
  raiseTtl(found: SimulatedLook, record: HistoryRecord): boolean {
    const last = this.#versions.at(-1);
    if (!last || found.record !== last.record) return false;
    this.#versions.push({ ...last, at: this.#replayed.now, record });
    return true;
  }

  /**
   * Puts the store back to the state of `ageMs` ago. `known`: what each host remembers; a copy is played
   * only if each of them can notice it by the revision, else the store is restored.
   */
  async putBack(
    { ageMs, how }: Pick<PutBackCommand, 'ageMs' | 'how'>,
    known: readonly (RememberedHistory | undefined)[],
  ): Promise<void> {
    const at = Math.max(0, this.#replayed.now - ageMs);
    const lost = this.revision;
    const clock = this.#clockFrom(at);
    const versions = this.#versions.filter((version) => version.at <= at);
    const copy = await this.#replayed.asOf(at, clock, 0);
    const { revision, tickets } = await stateOf(copy.store);
    const found = { record: versions.at(-1)?.record, revision: revision + tickets.length };
    const isCopy = how === 'copied' && known.every((each) => each && canNotice(each, found));
    const bumps = Math.ceil((lost - revision) / 2) + bumpMargin;
    const restored = how === 'bumped' ? await this.#replayed.asOf(at, clock, bumps) : copy;
    this.#life += 1;
    if (!isCopy) this.#cluster += 1;
    this.#replayed = restored;
    this.#clock = clock;
    this.#versions = versions;
    const { scheduler } = this.#options;
    const expiries = new Map(
      [...restored.expiries].map(([id, until]) => [id, scheduler.now + until - at] as const),
    );
    await this.store.putBack(restored.store, expiries);
  }

  [Symbol.dispose](): void {
    this.store[Symbol.dispose]();
  }

  /** Returns a clock that reads `startMs` now. */
  #clockFrom(startMs: number): HostClock {
    const { scheduler, party, seed } = this.#options;
    const random = randomStream(seed, `store ${this.#life}`);
    return new HostClock({
      ...{ scheduler, party, random, rate: 1 },
      startMs: startMs - scheduler.now,
    });
  }
}

/**
 * True if a host notices a copy by what it remembers. `found`: the copy, with the highest revision that it
 * can reach by itself, when all its sessions have ended.
 */
function canNotice(
  known: RememberedHistory,
  { record, revision }: Pick<SimulatedLook, 'record' | 'revision'>,
): boolean {
  if (!record) return true;
  return record.id === known.id ? revision < known.revision : !record.past.includes(known.id);
}

async function stateOf(store: TicketStore): Promise<StoreState> {
  const { promise, resolve } = Promise.withResolvers<StoreState>();
  const ignored = () => {};
  const watch = { reset: resolve, change: ignored, interrupted: ignored, resumed: ignored };
  using _ = store.watch(watch);
  return await promise;
}
