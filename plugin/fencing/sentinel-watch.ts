import createDebug from 'debug';
import type { Condition } from '../../lib/lock/condition.ts';
import type { Clock } from '../../lib/running/clock.ts';
import { every } from '../../lib/running/every.ts';
import { LatestOnly } from '../../lib/running/latest-only.ts';
import { messageOf } from '../../lib/running/message-of.ts';
import { SayOnce } from '../../lib/running/say-once.ts';
import type { VolumeDriver } from '../../lib/volumes/drivers/driver.ts';
import { UnavailableError } from '../../lib/volumes/errors.ts';
import type { EventSink, VolumeEvent } from '../../lib/volumes/events.ts';
import type { FencedMount, MountFence } from '../../lib/volumes/mounts/mount-fence.ts';
import type { MountRow } from '../../lib/volumes/mounts/mount-table.ts';
import type { Happening, SentinelReport, WatchedVolume } from '../../sentinel/watch.ts';
import type { SentinelLink } from './sentinel-link.ts';

const log = createDebug('berth:sentinel');

/** How often the deadlines are sent to the sentinel, which also shows that it is alive. */
const repeatMs = 1_000;
const endLimitMs = 20_000;
const endPollMs = 100;

export interface SentinelWatchOptions {
  readonly link: Pick<SentinelLink, 'tell' | 'end'>;
  readonly drivers: ReadonlyMap<string, VolumeDriver>;
  /** Returns for how long from now no other host can be granted this host's locks. */
  readonly leftMs: () => number;
  readonly ttlMs: number;
  readonly bootId: string;
  /** Milliseconds since boot: the clock of the deadlines, which the sentinel reads, too. */
  readonly bootNowMs: () => number;
  readonly clock: Clock;
  readonly events: EventSink;
  /**
   * Called when the sentinel has ended a container because its volume was lost; the sentinel may
   * forget it after this resolves. Not called for a volume that an operator took from this host.
   * Must not reject.
   */
  readonly onEnded?: (container: EndedContainer) => Promise<void>;
}

/** A container that the sentinel has ended. */
export interface EndedContainer {
  /** The engine's ID. */
  readonly id: string;
  readonly volume: string;
  /** RFC 3339. */
  readonly endedAt: string;
}

/**
 * Gives the sentinel the mounts of this host and their deadlines, and records what it did as events.
 *
 *     lease renewed ─► deadlineChanged ─┐
 *     mount changed ─► watch, changed ──┼─► one call at a time ─► SentinelLink ─► sentinel
 *     each second ─► run ───────────────┘        {volumes, deadlines}   │
 *     event log ◄── what it did since the last call ◄───────────────────┘
 *
 * A sentinel that can't be reached is a condition, and no further volume is mounted meanwhile.
 */
export class SentinelWatch implements MountFence {
  readonly #options: SentinelWatchOptions;
  #mounts: readonly FencedMount[] = [];
  #noted = 0;
  /** True while the sentinel has volumes to watch. */
  #isKnown = false;
  #wasStarted = false;
  readonly #telling = new LatestOnly(() => this.#tellNow());
  readonly #trouble = new SayOnce((text) => log('ERROR the sentinel can not be reached: %s', text));

  constructor(options: SentinelWatchOptions) {
    this.#options = options;
  }

  /** Reports a sentinel that can't be reached. */
  conditions(): Condition[] {
    const { last } = this.#trouble;
    if (last === undefined) return [];
    const message = `the sentinel does not receive this host's mounts: ${last}`;
    return [{ severity: 'error', message }];
  }

  async watch(mounts: readonly FencedMount[]): Promise<void> {
    this.#mounts = mounts;
    try {
      await this.#telling.run();
    } catch (error) {
      throw new UnavailableError(
        'the sentinel, which keeps this host from writing to a volume that it has lost, ' +
          `can't be reached; berth mounts no volume without it: ${messageOf(error)}`,
        { cause: error },
      );
    }
  }

  changed(mounts: readonly FencedMount[]): void {
    this.#mounts = mounts;
    this.deadlineChanged();
  }

  /** Tells the sentinel a new deadline in the background. */
  deadlineChanged(): void {
    this.#telling.run().catch((error) => this.#complain(error)); // `run` repeats it.
  }

  async end(volume: string, mounts: readonly FencedMount[]): Promise<void> {
    this.#mounts = mounts;
    const { clock } = this.#options;
    const end = clock.now() + endLimitMs;
    for (;;) {
      const report = await this.#telling.run();
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
        await this.#telling.run();
        this.#trouble.clear();
      } catch (error) {
        this.#complain(error);
      }
    }
  }

  /** Sends the last deadlines of a daemon that ends; ends a sentinel that has nothing to watch. */
  async leave(): Promise<void> {
    try {
      await this.#telling.run();
      if (this.#wasStarted && !this.#isKnown) await this.#options.link.end();
    } catch (error) {
      this.#complain(error);
    }
  }

  async #tellNow(): Promise<SentinelReport | undefined> {
    const { link, leftMs, ttlMs, bootId, bootNowMs } = this.#options;
    // The clock is read first: a process that is frozen in between must not move a deadline on.
    const nowMs = bootNowMs();
    const deadlineMs = Math.floor(nowMs + leftMs());
    const volumes = this.#guarded(deadlineMs);
    if (volumes.length === 0 && !this.#isKnown) return undefined;
    const report = await link.tell({
      bootId,
      leadMs: Math.min(1_000, Math.round(ttlMs / 10)),
      graceMs: Math.min(5_000, Math.round(ttlMs / 6)),
      volumes,
      noted: this.#noted,
    });
    this.#isKnown = volumes.length > 0;
    this.#wasStarted = true;
    for (const happening of report.happenings) await this.#note(happening);
    return report;
  }

  #guarded(deadlineMs: number): WatchedVolume[] {
    const { drivers } = this.#options;
    return this.#mounts.flatMap(({ row, ownership }): WatchedVolume[] => {
      const state = ownership();
      // Where locks don't expire, no other host is granted one while its holder is away.
      const isSafe =
        deadlineMs === Number.POSITIVE_INFINITY && (state === 'held' || state === 'unproven');
      if (row.onLost === 'keep' || isSafe) return [];
      const ownsFileSystem = drivers.get(row.driver)?.capabilities.ownsFileSystem ?? false;
      const watched = watchedVolume(row, row.onLost, ownsFileSystem);
      return [state === 'held' ? { ...watched, state, deadlineMs } : { ...watched, state }];
    });
  }

  async #note({ number, kind, volume, message, at, container }: Happening): Promise<void> {
    if (number <= this.#noted) return;
    this.#options.events.record({ severity: severities[kind], kind, volume, message, time: at });
    const hasEnded = kind === 'killed' || kind === 'stopped';
    if (hasEnded && container !== undefined && !this.#isEvicted(volume)) {
      await this.#options.onEnded?.({ id: container, volume, endedAt: at });
    }
    this.#noted = number;
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

const severities: Record<Happening['kind'], VolumeEvent['severity']> = {
  paused: 'warning',
  resumed: 'info',
  stopped: 'warning',
  killed: 'error',
  failed: 'error',
};

function watchedVolume(
  { volume, mountpoint, ticket, mountMark = ticket.nonce }: MountRow,
  onLost: WatchedVolume['onLost'],
  ownsFileSystem: boolean,
): Omit<WatchedVolume, 'state'> {
  // tidy-ok: protocol name
  return { volume, tenure: mountMark, mountpoint, ownsFileSystem, onLost };
}
