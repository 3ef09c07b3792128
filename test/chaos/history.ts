import { openSync, readFileSync, writeSync } from 'node:fs';

/** An action or observation of a process, in the order of that process. */
export type Occurrence =
  /** A request for the locks of the sets is about to be made. */
  | { readonly op: 'request'; readonly sets: readonly string[] }
  /** The request is in the queue. */
  | { readonly op: 'queued'; readonly sets: readonly string[]; readonly token: number }
  /** The request failed; the process holds nothing. */
  | { readonly op: 'denied'; readonly code: string }
  /** The process proved at this time that it holds the locks. */
  | { readonly op: 'held'; readonly sets: readonly string[]; readonly token: number }
  /** The process learned that it no longer holds the locks, or can't prove that it does. */
  | { readonly op: 'lost'; readonly token: number }
  /** Under the lock, the process read the set as of this revision. */
  | {
      readonly op: 'read';
      readonly set: string;
      readonly token: number;
      readonly revision: number;
    }
  /** The process is about to add the element to the sets. */
  | ({ readonly op: 'write' } & Write)
  /** The outcome of the write. `unknown`: it may have been made, as may one without an outcome. */
  | ({ readonly op: WriteOutcome } & Write);

export type WriteOutcome = 'written' | 'refused' | 'unknown';

interface Write {
  readonly sets: readonly string[];
  readonly token: number;
  readonly element: string;
}

export type HistoryEvent = Occurrence & {
  /** A name that is unique to one life of a process. */
  readonly process: string;
  /** The time of the monotonic clock, which all processes of this machine share. */
  readonly atMs: number;
  /** The time of the process's own wall clock, which may be wrong. */
  readonly wall: string;
};

/** Returns the milliseconds of the monotonic clock, which all processes of this machine share. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint() / 1_000n) / 1_000;
}

/** Appends the events of this process to a file; the kernel has each line before the next step. */
export class HistoryWriter {
  readonly #file: number;
  readonly #process: string;

  constructor(path: string, process: string) {
    this.#file = openSync(path, 'a');
    this.#process = process;
  }

  /** Adds an event; `atMs` may be an earlier time at which it was true. */
  add(occurrence: Occurrence, atMs = monotonicMs()): void {
    const wall = new Date().toISOString();
    const event: HistoryEvent = { process: this.#process, atMs, wall, ...occurrence };
    writeSync(this.#file, `${JSON.stringify(event)}\n`);
  }
}

/** Returns the events of several processes in the order of time. */
export function readHistory(paths: readonly string[]): HistoryEvent[] {
  return paths
    .flatMap((path) => readFileSync(path, 'utf8').split('\n'))
    .filter((line) => line !== '')
    .map((line): HistoryEvent => JSON.parse(line))
    .sort((a, b) => a.atMs - b.atMs);
}
