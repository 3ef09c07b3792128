import createDebug from 'debug';
import type { StoreMirror } from '../../lock/engine/store-mirror.ts';
import { LockError } from '../../lock/errors.ts';
import type { TicketStore } from '../../lock/stores/ticket-store.ts';
import { isSameOwner } from '../../lock/ticket.ts';
import type { Clock } from '../../running/clock.ts';
import { LatestOnly } from '../../running/latest-only.ts';
import { messageOf } from '../../running/message-of.ts';
import type { VolumeDriver } from '../drivers/driver.ts';
import type { PoolSight, PoolSpace } from '../drivers/driver-pool.ts';
import { PoolMarkError, UnavailableError } from '../errors.ts';
import type { Catalog } from '../records/catalog.ts';
import type { Cluster } from '../records/cluster.ts';
import { poolKey } from '../records/pool-key.ts';
import type { PoolSurvey } from './mark-rule.ts';
import { disagreement, mayMark, verdictOn } from './mark-rule.ts';
import { PoolAnswers } from './pool-answers.ts';
import type { PoolTrouble } from './pool-conditions.ts';
import { poolProblem } from './pool-conditions.ts';
import type { PoolRecord } from './pool-record.ts';
import { parsePoolRecord, writePoolRecord } from './pool-record.ts';

const log = createDebug('berth:pool');

export interface PoolsOptions {
  readonly cluster: Pick<Cluster, 'id'>;
  readonly catalog: Pick<Catalog, 'list'>;
  readonly mirror: Pick<StoreMirror, 'isLive' | 'record' | 'tickets' | 'wrote'>;
  readonly store: Pick<TicketStore, 'record' | 'commit'>;
  readonly clock: Clock;
  /** This host's name and its identity. */
  readonly host: string;
  readonly owner: string;
}

/** How long another host may take from its record to its mark. */
const markingLimitMs = 5_000;
const markingPauseMs = 100;

/**
 * Keeps operations out of a pool that is not this cluster's: whose file system is not mounted, is
 * read-only, or is another's. README.md tells the rule by which a pool gets its mark.
 */
export class Pools {
  readonly #options: PoolsOptions;
  /** The running marking of each driver's pool. */
  readonly #markings = new Map<string, Promise<PoolTrouble | undefined>>();
  /** The looks at each driver's pool. */
  readonly #looks = new Map<string, LatestOnly<PoolSight>>();
  readonly #answers = new Map<string, PoolAnswers>();

  constructor(options: PoolsOptions) {
    this.#options = options;
  }

  /**
   * Rejects UnavailableError, which says what to do, unless the driver's pool is this cluster's and can
   * be written. Marks a pool that the rule allows to mark. A pool of this host alone needs no mark.
   */
  async require(driver: VolumeDriver): Promise<void> {
    if (driver.capabilities.hostOnly) return;
    const trouble = await this.#look(driver, { marks: true });
    if (trouble) throw new UnavailableError(poolProblem(trouble));
  }

  /** True: work in the driver's pool may look for its mark itself (`duringWork`). False: only `require` can tell. */
  allowsWork(driver: VolumeDriver): boolean {
    const isMarked = !driver.capabilities.hostOnly && this.#known(driver)?.state === 'marked';
    return isMarked && this.#answersOf(driver).allowsWork;
  }

  /**
   * Runs work in the driver's pool; rejects as `require` with nothing changed. `poolMark` is what the work has to look
   * for itself, and rejects PoolMarkError if that is not there; undefined: this has looked. Only some works at a time,
   * in a pool that answers, look themselves: one that hangs would keep the locks and the threads of each of them.
   */
  async duringWork<T>(
    driver: VolumeDriver,
    work: (poolMark: string | undefined) => Promise<T>,
  ): Promise<T> {
    const poolMark = await this.#options.cluster.id();
    try {
      if (this.allowsWork(driver)) return await this.#answersOf(driver).work(() => work(poolMark));
    } catch (error) {
      if (!(error instanceof PoolMarkError)) throw error;
      log('driver=%s work has not found the mark of its pool: %s', driver.name, error);
    }
    await this.require(driver); // It says what is wrong, and may write a mark that is missing.
    return await work(undefined);
  }

  /**
   * Says what is wrong with a driver's pool. Undefined: nothing, or the driver has no volumes, or the
   * store is away. Marks a pool that holds the volumes of the store.
   */
  async trouble(driver: VolumeDriver): Promise<PoolTrouble | undefined> {
    if (driver.capabilities.hostOnly) return undefined;
    try {
      const isUsed = this.#recorded(driver).length > 0 || this.#known(driver) !== undefined;
      const trouble = await this.#look(driver, { marks: isUsed });
      return isUsed || trouble?.verdict.is === 'foreign' ? trouble : undefined;
    } catch (error) {
      if (!(error instanceof LockError) && !(error instanceof UnavailableError)) throw error;
      log('driver=%s the store says nothing of its pool: %s', driver.name, error);
      return undefined;
    }
  }

  /**
   * Measures a pool that has volumes. Undefined: the driver has none, its pool does not answer, or the
   * store is away.
   */
  async space(driver: VolumeDriver): Promise<PoolSpace | undefined> {
    if (!this.#options.mirror.isLive || this.#recorded(driver).length === 0) return undefined;
    const { name, pool } = driver;
    try {
      return await pool.space();
    } catch (error) {
      log('driver=%s its pool does not tell its space: %s', name, error);
      return undefined;
    }
  }

  /** Lists the names of the other hosts that have locks or wait for them now. */
  otherHosts(): string[] {
    const { mirror, owner } = this.#options;
    const others = mirror.tickets().filter((ticket) => !isSameOwner(ticket.owner, owner));
    return [...new Set(others.map(({ holder }) => holder.host))].sort();
  }

  async #look(
    driver: VolumeDriver,
    { marks }: { readonly marks: boolean },
  ): Promise<PoolTrouble | undefined> {
    const cluster = await this.#options.cluster.id();
    const base = { driver: driver.name, pool: driver.pool, cluster };
    let sight: PoolSight;
    try {
      sight = await this.#sight(driver);
    } catch (error) {
      return { ...base, verdict: { is: 'unreadable', why: messageOf(error) } };
    }
    const verdict = verdictOn(sight, cluster);
    if (verdict.is === 'ours') {
      await this.#complete(driver);
      return undefined;
    }
    const trouble = { ...base, verdict };
    if (verdict.is !== 'unmarked' || !marks) return trouble;
    return this.#onlyOnce(driver, () => this.#mark(driver, trouble));
  }

  /** Looks at a pool; operations that come during a look share the next one. */
  #sight(driver: VolumeDriver): Promise<PoolSight> {
    const { name, pool } = driver;
    const answers = this.#answersOf(driver);
    const looks = this.#looks.get(name) ?? new LatestOnly(() => answers.look(() => pool.look()));
    this.#looks.set(name, looks);
    return looks.run();
  }

  #answersOf({ name }: VolumeDriver): PoolAnswers {
    const answers = this.#answers.get(name) ?? new PoolAnswers(this.#options.clock);
    this.#answers.set(name, answers);
    return answers;
  }

  /** Completes the record of a pool with a mark: a crash, or a person, may have left it incomplete. */
  async #complete(driver: VolumeDriver): Promise<void> {
    if (this.#known(driver)?.state === 'marked') return;
    try {
      await this.#writeRecord(driver, 'marked');
    } catch (error) {
      if (!(error instanceof LockError)) throw error;
      log(
        'driver=%s its pool is marked, but the store does not know it yet: %s',
        driver.name,
        error,
      );
    }
  }

  #onlyOnce(
    { name }: VolumeDriver,
    mark: () => Promise<PoolTrouble | undefined>,
  ): Promise<PoolTrouble | undefined> {
    const running = this.#markings.get(name) ?? mark();
    this.#markings.set(name, running);
    const forget = () => this.#markings.delete(name);
    running.then(forget, forget);
    return running;
  }

  /** Marks a pool without a mark if the rule allows it; returns the trouble if not. */
  async #mark(driver: VolumeDriver, trouble: PoolTrouble): Promise<PoolTrouble | undefined> {
    const { store, owner } = this.#options;
    const stored = await store.record(poolKey(driver.name));
    const record = parsePoolRecord(stored);
    if (!mayMark(record, owner)) return this.#isMarkedSoon(driver, { ...trouble, record });
    const differs = disagreement(await this.#survey(driver));
    if (differs) {
      // Another host may have marked it since, and have made what no record names yet.
      const now = await store.record(poolKey(driver.name));
      if (now?.revision !== stored?.revision) return this.#mark(driver, trouble);
      return { ...trouble, differs };
    }
    if (!(await this.#writeRecord(driver, 'marking', stored))) return this.#mark(driver, trouble);
    await driver.pool.mark(trouble.cluster);
    await this.#writeRecord(driver, 'marked');
    log('marked pool=%s driver=%s', driver.pool.place, driver.name);
    return undefined;
  }

  /**
   * Looks again for the mark of another host, which may have written it since `trouble` was seen, and
   * waits while that host is about to write it.
   */
  async #isMarkedSoon(
    driver: VolumeDriver,
    trouble: PoolTrouble,
  ): Promise<PoolTrouble | undefined> {
    const { clock } = this.#options;
    const end = clock.now() + markingLimitMs;
    for (;;) {
      if ((await driver.pool.look()).mark === trouble.cluster) return undefined;
      if (trouble.record?.state !== 'marking' || clock.now() >= end) return trouble;
      await clock.sleep(markingPauseMs);
    }
  }

  /** Writes this host's record; false if another host has written it since. */
  async #writeRecord(
    driver: VolumeDriver,
    state: PoolRecord['state'],
    stored = this.#options.mirror.record(poolKey(driver.name)),
  ): Promise<boolean> {
    const { store, mirror, host, owner, clock } = this.#options;
    const since = clock.date().toISOString();
    const record = { version: 1, state, owner, host, since } as const;
    const written = await writePoolRecord(store, driver.name, record, stored?.revision ?? 0);
    if (written) mirror.wrote(written.revision, [written.write]);
    return written !== undefined;
  }

  async #survey(driver: VolumeDriver): Promise<PoolSurvey> {
    const recorded = this.#recorded(driver);
    const known = new Set(recorded);
    const stored: { name: string; isEmpty: boolean }[] = [];
    for (const name of await driver.storage.names()) {
      const found = known.has(name) ? undefined : await driver.storage.find(name);
      const isEmpty =
        found !== undefined && found.content !== 'some' && found.snapshots.length === 0;
      stored.push({ name, isEmpty });
    }
    return { recorded, stored };
  }

  /** Throws UnavailableError while the records can't be known. */
  #recorded({ name: driver }: VolumeDriver): string[] {
    if (!this.#options.mirror.isLive) {
      throw new UnavailableError("the store can't be reached, so the volumes are not known");
    }
    const records = this.#options.catalog.list();
    return records.filter((record) => record.driver === driver).map(({ name }) => name);
  }

  /** Reads the record from the mirror. */
  #known({ name }: VolumeDriver): PoolRecord | undefined {
    return parsePoolRecord(this.#options.mirror.record(poolKey(name)));
  }
}
