import createDebug from 'debug';
import type { Condition } from '../../lib/lock/condition.ts';
import type { Clock } from '../../lib/running/clock.ts';
import { every } from '../../lib/running/every.ts';
import { LatestOnly } from '../../lib/running/latest-only.ts';
import { messageOf } from '../../lib/running/message-of.ts';
import { SayOnce } from '../../lib/running/say-once.ts';
import type { VolumeDriver } from '../../lib/volumes/drivers/driver.ts';
import { UnavailableError } from '../../lib/volumes/errors.ts';
import type { EventSink } from '../../lib/volumes/events.ts';
import type { FencedMount, MountFence } from '../../lib/volumes/mounts/mount-fence.ts';
import type {
  ReleasedMount,
  SentinelReport,
  WatchedVolume,
  WatchMessage,
} from '../../sentinel/watch.ts';
import { protocolVersion } from '../../sentinel/watch.ts';
import { lackOfTime, unknownVolume } from './fence-conditions.ts';
import { ReleasedMounts } from './released-mounts.ts';
import type { SentinelLink } from './sentinel-link.ts';
import type { EndedContainer } from './sentinel-news.ts';
import { SentinelNews } from './sentinel-news.ts';
import { SentinelStandstills } from './standstills.ts';
import type { IsMounted } from './unknown-volumes.ts';
import { noUnknownVolumes, unknownVolumes } from './unknown-volumes.ts';
import { watchedVolumes } from './watched-volumes.ts';

const log = createDebug('berth:sentinel');

/** How often the deadlines are sent to the sentinel, which also shows that it is alive. */
const repeatMs = 1_000;
const endLimitMs = 20_000;
const endPollMs = 100;

export interface SentinelWatchOptions {
  readonly link: Pick<SentinelLink, 'tell' | 'change' | 'isGuarding' | 'end'>;
  readonly drivers: ReadonlyMap<string, VolumeDriver>;
  /** Returns for how long from now no other host can be granted this host's locks. */
  readonly leftMs: () => number;
  /** Returns the milliseconds from a deadline to the earliest end of the TTL. */
  readonly marginMs: () => number;
  readonly ttlMs: number;
  readonly fenceHostProcesses: boolean;
  readonly bootId: string;
  /** Milliseconds since boot: the clock of the deadlines, which the sentinel reads, too. */
  readonly bootNowMs: () => number;
  readonly clock: Clock;
  readonly events: EventSink;
  /** Returns where a volume is mounted on this host. */
  readonly mountpointOf: (volume: string) => string;
  readonly isMounted: IsMounted;
  /**
   * Called when the sentinel has ended a container because its volume was lost; the sentinel may
   * forget it after this resolves. Not called for a volume that an operator took from this host.
   * Must not reject.
   */
  readonly onEnded?: (container: EndedContainer) => Promise<void>;
}

/**
 * Gives the sentinel the mounts of this host and their deadlines, and records what it did as events.
 *
 *     lease renewed ─► deadlineChanged ─┐
 *     mount changed ─► watch, changed ──┼─► one call at a time ─► SentinelLink ─► sentinel
 *     each second ─► run ───────────────┘    {volumes, deadlines, released}  │
 *     event log ◄── what it did since the last call, what it can't do ◄──────┘
 *
 * A call for mounts that were added or have ended gives these alone, if the sentinel still has the
 * last watch. All other calls give all mounts.
 *
 * A sentinel that can't be reached is a condition, and no further volume is mounted meanwhile. The
 * same applies while the sentinel has too little time to fence this host.
 */
export class SentinelWatch implements MountFence {
  readonly #options: SentinelWatchOptions;
  #mounts: readonly FencedMount[] = [];
  /** True while the sentinel has volumes to watch. */
  #isKnown = false;
  #wasStarted = false;
  /** True when the sentinel of an earlier daemon has been looked for. */
  #hasLooked = false;
  #report: SentinelReport | undefined;
  /** The volumes that the sentinel guards and this daemon does not know. */
  #unknown = noUnknownVolumes;
  readonly #released = new ReleasedMounts();
  readonly #telling = new LatestOnly(() => this.#tellNow());
  /** The state of the sentinel after the last call; undefined: it has to get the whole watch. */
  #base: string | undefined;
  /** True: any mount or deadline may have changed since the last call. */
  #isWhole = true;
  /** The volumes whose mounts have changed since the last call. */
  readonly #changed = new Set<string>();
  readonly #trouble = new SayOnce((text) => log('ERROR the sentinel can not be reached: %s', text));
  readonly #news: SentinelNews;
  /** Lets users of a volume stand still for a copy. */
  readonly standstills: SentinelStandstills;

  constructor(options: SentinelWatchOptions) {
    this.#options = options;
    this.standstills = new SentinelStandstills({
      ...options,
      tell: () => this.#tell(this.#mounts),
    });
    const { events, clock, onEnded } = options;
    const isEvicted = (volume: string) => this.#isEvicted(volume);
    this.#news = new SentinelNews({ events, clock, isEvicted, onEnded });
  }

  /** Reports a sentinel that can't be reached, and what it can't fence, or not in time. */
  conditions(): Condition[] {
    const { last } = this.#trouble;
    const message = `the sentinel does not receive this host's mounts: ${last}`;
    const late = this.#lackOfTime();
    return [
      ...(last === undefined ? [] : [{ severity: 'error', message } as const]),
      ...(late === undefined ? [] : [{ severity: 'warning', message: late } as const]),
      ...this.#news.conditions(),
      ...this.#unknown.guarded.map(unknownVolume),
    ];
  }

  /**
   * Returns the volumes for which users stand still, or should; undefined while the sentinel can't be
   * asked.
   */
  stoppedVolumes(): ReadonlySet<string> | undefined {
    if (this.#trouble.last !== undefined) return undefined;
    const { volumes = {}, watched = {} } = (this.#isKnown && this.#report) || {};
    const isStopped = (volume: string) =>
      volumes[volume] !== 'running' || watched[volume]?.hasStopped === true;
    return new Set(Object.keys(volumes).filter(isStopped));
  }

  async watch(mounts: readonly FencedMount[], only?: string): Promise<void> {
    try {
      await this.#tell(mounts, only);
    } catch (error) {
      throw new UnavailableError(
        'the sentinel, which keeps this host from writing to a volume that it has lost, ' +
          `can't be reached; berth mounts no volume without it: ${messageOf(error)}`,
        { cause: error },
      );
    }
    const late = this.#lackOfTime();
    if (late !== undefined) throw new UnavailableError(`no further volume is mounted: ${late}`);
  }

  changed(mounts: readonly FencedMount[], only?: string): void {
    this.#tell(mounts, only).catch((error) => this.#complain(error)); // `run` repeats it.
  }

  /** Tells the sentinel a new deadline in the background. */
  deadlineChanged(): void {
    this.changed(this.#mounts);
  }

  async end(volume: string, mounts: readonly FencedMount[]): Promise<void> {
    this.#mounts = mounts;
    const { clock } = this.#options;
    const end = clock.now() + endLimitMs;
    for (;;) {
      const report = await this.#tell(this.#mounts);
      const state = report?.volumes[volume];
      if (state === undefined || state === 'ended') return;
      if (clock.now() > end) {
        throw new Error(`the containers that use volume ${volume} do not end`);
      }
      await clock.sleep(endPollMs);
    }
  }

  /** Sends the deadlines each second until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    for await (const _ of every(repeatMs, this.#options.clock, signal)) {
      try {
        await this.#lookOnce();
        await this.#tell(this.#mounts);
        this.#trouble.clear();
      } catch (error) {
        this.#complain(error);
      }
    }
  }

  /** Sends the last deadlines of a daemon that ends; ends a sentinel that has nothing to watch. */
  async leave(): Promise<void> {
    try {
      await this.#tell(this.#mounts);
      if (this.#wasStarted && !this.#isKnown) await this.#options.link.end();
    } catch (error) {
      this.#complain(error);
    }
  }

  /** Looks for a sentinel that guards volumes for an earlier daemon: this one may know none of them. */
  async #lookOnce(): Promise<void> {
    if (this.#hasLooked || this.#wasStarted) return;
    this.#hasLooked = true;
    if (await this.#options.link.isGuarding()) this.#isKnown = true;
  }

  #tell(mounts: readonly FencedMount[], only?: string): Promise<SentinelReport | undefined> {
    this.#mounts = mounts;
    if (only === undefined) this.#isWhole = true;
    else this.#changed.add(only);
    return this.#telling.run();
  }

  async #tellNow(): Promise<SentinelReport | undefined> {
    const names = [...this.#changed];
    const base = this.#isWhole ? undefined : this.#base;
    this.#isWhole = false;
    this.#changed.clear();
    this.#base = undefined; // A call that fails leaves it unknown.
    if (base !== undefined && (await this.#tellChange(base, names))) return this.#report;
    return await this.#tellAll();
  }

  /** Resolves to false if the sentinel has to get the whole watch. */
  async #tellChange(base: string, names: readonly string[]): Promise<boolean> {
    const { added, released, hasChanged } = this.#released.newsOf(names, this.#watched(names));
    // A lock that is not held is nothing for the short way.
    if (hasChanged || added.some(({ state }) => state !== 'held')) return false;
    if (added.length === 0 && released.length === 0) {
      this.#base = base;
      return true;
    }
    const { link, bootId } = this.#options;
    try {
      const report = await link.change({
        bootId,
        base,
        released: [...released],
        volumes: [...added],
      });
      this.#base = report.base;
      this.#released.taken(released);
      this.#report = this.#report && { ...this.#report, leadMs: report.leadMs };
      return true;
    } catch (error) {
      log('giving the sentinel the whole watch: %s', messageOf(error));
      return false;
    }
  }

  async #tellAll(): Promise<SentinelReport | undefined> {
    let volumes = this.#watched();
    if (volumes.length === 0 && !this.#isKnown) return undefined;
    let released: ReleasedMount[] = [];
    const report = await this.#options.link.tell(() => {
      volumes = this.#watched();
      released = this.#released.beside(volumes);
      return this.#message(volumes, released);
    });
    this.#base = report.base;
    this.#wasStarted = true;
    this.#report = report;
    this.#released.confirm(released, report);
    const isGuarding = volumes.length > 0 || Object.keys(report.volumes).length > 0;
    this.#isKnown = isGuarding || this.#released.isPending;
    await this.#news.take(report);
    const own = new Set(this.#mounts.map(({ row }) => row.volume));
    const isOurs = (volume: string) =>
      own.has(volume) || this.#mounts.some(({ row }) => row.volume === volume);
    this.#unknown = await unknownVolumes(report, { ...this.#options, isOurs });
    for (const mount of this.#unknown.ended) this.#released.add(mount);
    return report;
  }

  /** Returns what the sentinel has to watch; of these volumes alone, if they are given. */
  #watched(names?: readonly string[]): WatchedVolume[] {
    const { leftMs, bootNowMs, drivers } = this.#options;
    const mounts = names
      ? this.#mounts.filter(({ row }) => names.includes(row.volume))
      : this.#mounts;
    // The clock is read first: a process that is frozen in between must not move a deadline on.
    const nowMs = bootNowMs();
    const deadlineMs = Math.floor(nowMs + leftMs());
    return watchedVolumes(mounts, drivers, deadlineMs, this.standstills.untilMs);
  }

  #message(volumes: WatchedVolume[], released: ReleasedMount[]): WatchMessage {
    const { ttlMs, marginMs, bootId, fenceHostProcesses } = this.#options;
    return {
      protocol: protocolVersion,
      daemonPid: process.pid,
      bootId,
      leadMs: Math.min(1_000, Math.round(ttlMs / 10)),
      graceMs: Math.min(5_000, Math.round(ttlMs / 6)),
      ttlMs,
      marginMs: marginMs(),
      fenceHostProcesses,
      released,
      volumes,
      noted: this.#news.noted,
    };
  }

  #lackOfTime(): string | undefined {
    const { ttlMs, leftMs, marginMs } = this.#options;
    if (!this.#report || leftMs() === Number.POSITIVE_INFINITY) return undefined;
    return lackOfTime(this.#report, { ttlMs, marginMs: marginMs() });
  }

  /** Returns true while this host gives up a volume because an operator cleared its lock. */
  #isEvicted(volume: string): boolean {
    return this.#mounts.some(
      ({ row, ownership }) => row.volume === volume && ownership() === 'evicted',
    );
  }

  #complain(error: unknown): void {
    this.#trouble.say(messageOf(error));
  }
}
