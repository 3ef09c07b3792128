import type { Writing } from './guarded-set.ts';

/** What a worker is told at its start, as JSON. */
export interface WorkerSettings {
  readonly name: string;
  /** Where it finds etcd's members: host:port each. */
  readonly endpoints: readonly string[];
  readonly prefix: string;
  readonly ttlMs: number;
  readonly historyPath: string;
}

export interface Call {
  readonly id: number;
  readonly task: Task;
}

export type Task =
  /** Opens its session. */
  | { readonly name: 'open' }
  /** `halts`: says that it has read the sets, and writes them when it gets `go`. */
  | {
      readonly name: 'add';
      readonly sets: readonly string[];
      readonly writing: Writing;
      readonly halts: boolean;
    }
  | { readonly name: 'go' }
  /** Adds to the sets again and again, each time some of them, until it gets `rest`. */
  | { readonly name: 'work'; readonly sets: readonly string[]; readonly seed: number }
  | { readonly name: 'rest' }
  | { readonly name: 'shiftClock'; readonly offsetMs: number }
  | { readonly name: 'close' };

/** Sent when it has read the sets under the lock and is going to take its time before it writes. */
export const holding = 'holding';
