import type { KubernetesStoreOptions } from '../../lib/lock/stores/kubernetes/store.ts';
import type { Writing } from './guarded-set.ts';

export type WorkerStore =
  /** The addresses of etcd's members, `host:port` each. */
  | { readonly kind: 'etcd'; readonly endpoints: readonly string[]; readonly prefix: string }
  | { readonly kind: 'kubernetes'; readonly options: KubernetesStoreOptions };

/** The settings that a worker gets at its start, as JSON. */
export interface WorkerSettings {
  readonly name: string;
  readonly store: WorkerStore;
  readonly ttlMs: number;
  readonly historyPath: string;
}

export interface Call {
  readonly id: number;
  readonly task: Task;
}

export type Task =
  /** Opens the session. */
  | { readonly name: 'open' }
  /** Adds an element; with `halts`, it reports that it has read, and writes after `go`. */
  | {
      readonly name: 'add';
      readonly sets: readonly string[];
      readonly writing: Writing;
      readonly halts: boolean;
    }
  | { readonly name: 'go' }
  /** Adds to some of the sets repeatedly, until `rest`. */
  | { readonly name: 'work'; readonly sets: readonly string[]; readonly seed: number }
  | { readonly name: 'rest' }
  | { readonly name: 'shiftClock'; readonly offsetMs: number }
  | { readonly name: 'close' };

/** The message of a worker that has read under the lock and pauses before the write. */
export const holding = 'holding';
