import { setTimeout as sleep } from 'node:timers/promises';
import { ProgramError, run } from '../../linux/run.ts';
import { messageOf } from '../../running/message-of.ts';
import type { FormerOwner } from '../drivers/takeover.ts';
import { UnavailableError } from '../errors.ts';
import type { EventSink } from '../events.ts';
import { goneCommand } from './unclean-ends.ts';

/** The limits of a fence command; a test passes shorter ones. */
export interface FenceLimits {
  /** One run that takes longer is ended, and counts as failed. */
  readonly runMs: number;
  /** A Mount waits this long in all; the engine waits for the Mount for 120 s. */
  readonly patienceMs: number;
  /** The pause after the first failure; each further one is twice as long, up to ten times. */
  readonly pauseMs: number;
}

const usualLimits: FenceLimits = { runMs: 30_000, patienceMs: 55_000, pauseMs: 1_000 };

export interface FenceCommandOptions {
  /** The path of the program. */
  readonly program: string;
  readonly events: EventSink;
  readonly limits?: FenceLimits;
}

/**
 * The operator's program that ends a host, or takes its access to the storage away: it switches the
 * machine off, withdraws an export, closes a port. It gets the former host as arguments and in its
 * environment. **Exit code 0 means that this host can't write to the volume any more**, now and until
 * it has been booted again; berth believes it. Anything else means that this is not known, and the
 * program is run again. It must be idempotent: another host may run it for the same former host.
 */
export class FenceCommand {
  readonly #options: FenceCommandOptions;
  readonly #limits: FenceLimits;
  /** The sentence about each Mount that waits, by volume. */
  readonly #waiting = new Map<string, string>();

  constructor(options: FenceCommandOptions) {
    this.#options = options;
    this.#limits = options.limits ?? usualLimits;
  }

  get program(): string {
    return this.#options.program;
  }

  /** Lists what Mounts wait for at the moment, one sentence each. */
  waiting(): string[] {
    return [...this.#waiting.values()];
  }

  /**
   * Runs the command until it confirms that the former owner can't write any more. Rejects
   * UnavailableError, which says what the command answered, when the Mount's patience is over, and
   * the signal's reason when the caller leaves; the running program has ended by then.
   */
  async end(volume: string, former: FormerOwner, signal: AbortSignal): Promise<void> {
    const { events, program } = this.#options;
    const { patienceMs, pauseMs } = this.#limits;
    const end = performance.now() + patienceMs;
    const note = (severity: 'info' | 'warning', what: string) => {
      const { token } = former;
      events.record({ severity, kind: 'fence-command', volume, message: what, token });
    };
    const whom = `host ${former.host}, which did not unmount it`;
    const message = `the Mount of volume ${volume} waits for ${program}, which has to end ${whom}`;
    this.#waiting.set(volume, message);
    let failure = '';
    try {
      for (let attempt = 0; ; attempt += 1) {
        const failed = await this.#attempt(volume, former, end, signal);
        if (failed === undefined) {
          note('info', `${program} has confirmed that ${whom}, can't write to it any more`);
          return;
        }
        // A run that only the end of the patience has ended says nothing about the command.
        if (!failed.isCut || failure === '') failure = failed.why;
        const pause = pauseMs * Math.min(2 ** attempt, 10);
        if (attempt === 0) note('warning', `${failure}; it is repeated until it exits with 0`);
        if (performance.now() + pause >= end) {
          throw new UnavailableError(
            `volume ${volume} was mounted by ${whom}, and the fence command has not confirmed that this ` +
              `host can't write any more (${failure}); repair the command, then try again, or, if that host is ` +
              `gone for good: ${goneCommand({ volume, token: former.token })}`,
          );
        }
        await sleep(pause, undefined, { signal });
      }
    } finally {
      this.#waiting.delete(volume);
    }
  }

  /**
   * Runs it once; returns why it did not confirm, or undefined if it did. `isCut`: it was ended before
   * the time that a run may take.
   */
  async #attempt(
    volume: string,
    { host, owner, addresses, token, since }: FormerOwner,
    end: number,
    signal: AbortSignal,
  ): Promise<{ readonly why: string; readonly isCut: boolean } | undefined> {
    const { program } = this.#options;
    const limitMs = Math.max(1, Math.round(Math.min(this.#limits.runMs, end - performance.now())));
    const late = AbortSignal.timeout(limitMs);
    const env = {
      BERTH_FENCE_HOST: host,
      BERTH_FENCE_IDENTITY: owner,
      BERTH_FENCE_ADDRESSES: addresses.join(' '),
      BERTH_FENCE_VOLUME: volume,
      BERTH_FENCE_TOKEN: String(token),
      BERTH_FENCE_SINCE: since,
    };
    try {
      const within = { signal: AbortSignal.any([signal, late]), isGroup: true, env };
      await run(program, [host, volume, String(token)], within);
      return undefined;
    } catch (error) {
      signal.throwIfAborted();
      if (late.aborted) {
        const why = `${program} did not end within ${limitMs / 1000} s and was killed`;
        return { why, isCut: limitMs < this.#limits.runMs };
      }
      return { why: causeOf(error), isCut: false };
    }
  }
}

function causeOf(error: unknown): string {
  if (!(error instanceof ProgramError)) return messageOf(error);
  const code = error.exitCode === undefined ? '' : ` (exit code ${error.exitCode})`;
  return `${error.message}${code}`;
}
