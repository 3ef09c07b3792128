import createDebug from 'debug';
import type { Clock } from '../../lib/running/clock.ts';
import { messageOf } from '../../lib/running/message-of.ts';
import { NotStillError, UnavailableError } from '../../lib/volumes/errors.ts';
import type { Standstill, Standstills } from '../../lib/volumes/mounts/standstill.ts';
import type { SentinelReport } from '../../sentinel/watch.ts';

const log = createDebug('berth:sentinel');

const pollMs = 20;

export interface SentinelStandstillsOptions {
  /** Gives the sentinel the whole watch, with `untilMs`; resolves to its report. */
  readonly tell: () => Promise<SentinelReport | undefined>;
  /** Milliseconds since boot: the clock of the sentinel. */
  readonly bootNowMs: () => number;
  readonly clock: Clock;
}

/** Lets the sentinel stop the users of a volume for a copy: it can release them if this process can't. */
export class SentinelStandstills implements Standstills {
  readonly #options: SentinelStandstillsOptions;
  readonly #untilMs = new Map<string, number>();

  constructor(options: SentinelStandstillsOptions) {
    this.#options = options;
  }

  /** The volumes whose users stand still, with the times by the boot clock when that ends. */
  get untilMs(): ReadonlyMap<string, number> {
    return this.#untilMs;
  }

  async begin(volume: string, limitMs: number): Promise<Standstill> {
    if (this.#untilMs.has(volume)) {
      throw new NotStillError(`another copy of volume ${volume} is made just now; try again`);
    }
    const untilMs = Math.floor(this.#options.bootNowMs() + limitMs);
    this.#untilMs.set(volume, untilMs);
    try {
      const sinceMs = await this.#untilStill(volume, limitMs);
      return this.#standstill(volume, sinceMs, limitMs);
    } catch (error) {
      await this.#release(volume);
      throw error;
    }
  }

  /** Resolves to the time by the boot clock since which the users stand still. */
  async #untilStill(volume: string, limitMs: number): Promise<number> {
    const { bootNowMs, clock } = this.#options;
    const endMs = bootNowMs() + limitMs;
    let reason = 'the sentinel does not say why';
    for (;;) {
      const report = await this.#ask(volume);
      const sinceMs = fencedSinceMs(report, volume);
      if (sinceMs !== undefined) return sinceMs;
      // Not from its last report: they may run again by then.
      reason = report?.incomplete?.[volume] ?? reason;
      if (bootNowMs() >= endMs) {
        throw new NotStillError(
          `the containers that use volume ${volume} did not stand still within ` +
            `${seconds(limitMs)}, and run again: ${reason}. Nothing was copied: ${ways}`,
        );
      }
      await clock.sleep(pollMs);
    }
  }

  #standstill(volume: string, sinceMs: number, limitMs: number): Standstill {
    const { bootNowMs, clock } = this.#options;
    const over = new AbortController();
    const ended = new AbortController();
    const leftMs = (this.#untilMs.get(volume) ?? 0) - bootNowMs();
    void clock.sleep(Math.max(0, leftMs), ended.signal).then(() => {
      if (!ended.signal.aborted) over.abort(tookTooLong(volume, limitMs));
    });
    let end: Promise<void> | undefined;
    let tookMs: number | undefined;
    const endOnce = async () => {
      try {
        over.signal.throwIfAborted();
        await this.#requireStill(volume, sinceMs, limitMs);
      } finally {
        ended.abort('ended');
        await this.#release(volume);
        tookMs = bootNowMs() - sinceMs;
      }
    };
    const endNow = () => {
      end ??= endOnce();
      return end;
    };
    return {
      signal: over.signal,
      end: endNow,
      get tookMs() {
        return Math.round(tookMs ?? bootNowMs() - sinceMs);
      },
      [Symbol.asyncDispose]: () => endNow().catch(() => {}),
    };
  }

  /** Throws if a user may have written since that time. */
  async #requireStill(volume: string, sinceMs: number, limitMs: number): Promise<void> {
    const report = await this.#ask(volume);
    if (this.#options.bootNowMs() >= (this.#untilMs.get(volume) ?? 0)) {
      throw tookTooLong(volume, limitMs);
    }
    if (fencedSinceMs(report, volume) === sinceMs) return;
    throw new NotStillError(
      `somebody began to use volume ${volume} while it was copied, and may have written to it ` +
        '(docker exec, a new process): nothing was kept; try again',
    );
  }

  /** Gives the sentinel what stands still; resolves to its report. */
  async #ask(volume: string): Promise<SentinelReport | undefined> {
    try {
      return await this.#options.tell();
    } catch (error) {
      throw new UnavailableError(
        `the sentinel, which lets the containers of volume ${volume} stand still, can't be reached: ` +
          `${messageOf(error)}; nothing was kept`,
        { cause: error },
      );
    }
  }

  async #release(volume: string): Promise<void> {
    this.#untilMs.delete(volume);
    try {
      await this.#options.tell();
    } catch (error) {
      log('the users of %s run again at the limit: %s', volume, messageOf(error));
    }
  }
}

function fencedSinceMs(report: SentinelReport | undefined, volume: string): number | undefined {
  const { phase, fencedSinceMs: sinceMs } = report?.watched?.[volume] ?? {};
  return phase === 'fenced' ? sinceMs : undefined;
}

function tookTooLong(volume: string, limitMs: number): NotStillError {
  return new NotStillError(
    `the copy of volume ${volume} takes longer than its containers may stand still ` +
      `(${seconds(limitMs)}); they run again, and nothing was kept: ${ways}`,
  );
}

const ways =
  'let them stand still for longer (--hold-limit 1m), stop them, or copy while they write, which is ' +
  'not of one moment (--live)';

function seconds(ms: number): string {
  return `${ms / 1_000} s`;
}
