/** The sentinel's process at one moment, as the kernel shows it. */
export interface ProcessLook {
  readonly pid: number;
  /** Tells the process from a later one with the same ID. */
  readonly started: string;
  /** The state in /proc/PID/stat: `T` is stopped by a signal. */
  readonly state: string;
  /** Changes when the process uses the processor. */
  readonly used: string;
  /** Changes when the sentinel writes its state file. */
  readonly written: string;
}

/**
 * A sentinel that does not use the processor for this long hangs: it looks at its volumes several
 * times a second, and only time during which this daemon looked is counted.
 */
const idleLimitMs = 15_000;

/**
 * A sentinel that uses the processor, but neither answers nor writes for this long, is in an endless
 * loop. Fencing hundreds of containers takes a small part of this.
 */
const muteLimitMs = 120_000;

/** The longest time between two looks that counts: this daemon, or the machine, may have slept. */
const countedGapMs = 2_500;

/**
 * Decides whether a sentinel that does not answer has to be replaced. Fencing keeps its only thread
 * busy, and a sentinel that is replaced while it fences fences too late. So no answer is no reason;
 * what the kernel shows decides:
 *
 * | the process                                                    | is           |
 * |----------------------------------------------------------------|--------------|
 * | is stopped by a signal                                         | replaced     |
 * | has not used the processor for 15 s                            | replaced     |
 * | has used it, but neither answered nor written for 120 s        | replaced     |
 * | anything else                                                  | waited for   |
 */
export class Liveness {
  #last: (ProcessLook & { readonly atMs: number }) | undefined;
  #idleMs = 0;
  #muteMs = 0;

  /** Returns why this process has to be replaced; undefined if it works and is waited for. */
  fault(look: ProcessLook, nowMs: number): string | undefined {
    this.#count(look, nowMs);
    if (look.state === 'T') return 'it is stopped by a signal';
    if (this.#idleMs >= idleLimitMs) {
      return `it has done nothing for ${seconds(this.#idleMs)} s (process state ${look.state})`;
    }
    if (this.#muteMs >= muteLimitMs) {
      return `it has used the processor for ${seconds(this.#muteMs)} s without an answer`;
    }
    return undefined;
  }

  #count(look: ProcessLook, atMs: number): void {
    const last = this.#last;
    this.#last = { ...look, atMs };
    if (last?.pid !== look.pid || last.started !== look.started) {
      this.#idleMs = 0;
      this.#muteMs = 0;
      return;
    }
    const gapMs = Math.min(atMs - last.atMs, countedGapMs);
    const hasWritten = last.written !== look.written;
    this.#idleMs = hasWritten || last.used !== look.used ? 0 : this.#idleMs + gapMs;
    this.#muteMs = hasWritten ? 0 : this.#muteMs + gapMs;
  }
}

function seconds(ms: number): number {
  return Math.round(ms / 1_000);
}
