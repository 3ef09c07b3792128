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

/** How often the sentinel is told the deadlines, and seen to be alive. */
const repeatMs = 1_000;
const endLimitMs = 20_000;
const endPollMs = 100;

export interface SentinelWatchOptions {
  readonly link: Pick<SentinelLink, 'tell' | 'end'>;
  readonly drivers: ReadonlyMap<string, VolumeDriver>;
  /** For how long from now nobody else can be given this host's locks. */
  readonly leftMs: () => number;
  readonly ttlMs: number;
  readonly bootId: string;
  /** Milliseconds since boot: the clock of the deadlines, which the sentinel reads, too. */
  readonly bootNowMs: () => number;
  readonly clock: Clock;
  readonly events: EventSink;
}

/** Has the sentinel guard the mounts of this host, and writes down what it did. */
export class SentinelWatch implements MountFence {
  readonly #options: SentinelWatchOptions;
  #mounts: readonly FencedMount[] = [];
  #noted = 0;
  /** The sentinel has something to guard. */
  #isKnown = false;
  #wasStarted = false;
  readonly #telling = new LatestOnly(() => this.#tellNow());
  readonly #trouble = new SayOnce((text) => log('ERROR the sentinel can not be told: %s', text));

  constructor(options: SentinelWatchOptions) {
    this.#options = options;
  }

  /** What keeps the sentinel from being told, if anything does. */
  conditions(): Condition[] {
    const { last } = this.#trouble;
    if (last === undefined) return [];
    const message = `the sentinel can't be told of this host's mounts: ${last}`;
    return [{ severity: 'error', message }];
  }

  async watch(mounts: readonly FencedMount[]): Promise<void> {
    this.#mounts = mounts;
    try {
      await this.#telling.run();
    } catch (error) {
      throw new UnavailableError(
        "the sentinel can't be reached, which keeps this host from writing to a volume that it " +
          `has lost; no volume is mounted without it: ${messageOf(error)}`,
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

  /** Tells the deadlines as they move, until the signal. */
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

  /** The last word of a daemon that ends: its mounts stay guarded until the last deadline. */
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
    // The clock is read first: frozen in between, this process must not move a deadline on.
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
    for (const happening of report.happenings) this.#note(happening);
    return report;
  }

  #guarded(deadlineMs: number): WatchedVolume[] {
    const { drivers } = this.#options;
    return this.#mounts.flatMap(({ row, ownership }): WatchedVolume[] => {
      const state = ownership();
      // Where locks don't expire, nobody is given one while its holder is away.
      const isSafe =
        deadlineMs === Number.POSITIVE_INFINITY && (state === 'held' || state === 'unproven');
      if (row.onLost === 'keep' || isSafe) return [];
      const ownsFileSystem = drivers.get(row.driver)?.capabilities.ownsFileSystem ?? false;
      const watched = watchedVolume(row, row.onLost, ownsFileSystem);
      return [state === 'held' ? { ...watched, state, deadlineMs } : { ...watched, state }];
    });
  }

  #note({ number, kind, volume, message, at }: Happening): void {
    if (number <= this.#noted) return;
    this.#noted = number;
    this.#options.events.record({ severity: severities[kind], kind, volume, message, time: at });
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
  return { volume, tenure: mountMark, mountpoint, ownsFileSystem, onLost };
}
