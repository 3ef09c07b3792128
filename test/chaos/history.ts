import { openSync, readFileSync, writeSync } from 'node:fs';

/** One thing that a process did or saw, in the order in which it did. */
export type Occurrence =
  /** It is about to ask for the locks of the sets. */
  | { readonly op: 'request'; readonly sets: readonly string[] }
  /** Its request stands in the queue. */
  | { readonly op: 'queued'; readonly sets: readonly string[]; readonly token: number }
  /** It was not given the locks, and has nothing. */
  | { readonly op: 'denied'; readonly code: string }
  /** It proved at this time that it held the locks. */
  | { readonly op: 'held'; readonly sets: readonly string[]; readonly token: number }
  /** It was told that it holds them no longer, or can't prove it. */
  | { readonly op: 'lost'; readonly token: number }
  /** Under the lock it saw the set as it was since this revision of the store. */
  | {
      readonly op: 'read';
      readonly set: string;
      readonly token: number;
      readonly revision: number;
    }
  /** It is about to add the element to the sets. */
  | ({ readonly op: 'write' } & Write)
  /** How that ended. `unknown`: it may have happened, as it may for a write without an end. */
  | ({ readonly op: WriteOutcome } & Write);

export type WriteOutcome = 'written' | 'refused' | 'unknown';

interface Write {
  readonly sets: readonly string[];
  readonly token: number;
  readonly element: string;
}

export type HistoryEvent = Occurrence & {
  /** Unique to one life of a process. */
  readonly process: string;
  /** By the monotonic clock, which all processes of this machine share. */
  readonly atMs: number;
  /** By the process's own wall clock, which may be wrong. */
  readonly wall: string;
};

/** Milliseconds of the monotonic clock, which is the same in all processes of this machine. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint() / 1_000n) / 1_000;
}

/** Appends what this process does to a file; each line is with the kernel before the next step. */
export class HistoryWriter {
  readonly #file: number;
  readonly #process: string;

  constructor(path: string, process: string) {
    this.#file = openSync(path, 'a');
    this.#process = process;
  }

  /** `atMs` is now, or the earlier moment at which it was so. */
  add(occurrence: Occurrence, atMs = monotonicMs()): void {
    const wall = new Date().toISOString();
    const event: HistoryEvent = { process: this.#process, atMs, wall, ...occurrence };
    writeSync(this.#file, `${JSON.stringify(event)}\n`);
  }
}

/** The events of several processes, in the order of time. */
export function readHistory(paths: readonly string[]): HistoryEvent[] {
  return paths
    .flatMap((path) => readFileSync(path, 'utf8').split('\n'))
    .filter((line) => line !== '')
    .map((line): HistoryEvent => JSON.parse(line))
    .sort((a, b) => a.atMs - b.atMs);
}
