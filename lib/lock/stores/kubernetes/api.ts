export type Method = 'GET' | 'POST' | 'PATCH' | 'DELETE';

export interface Call {
  readonly body?: unknown;
  /** The kind of a PATCH: fields that replace others, or a list of operations. */
  readonly patch?: 'merge' | 'json';
}

/** The parts of an object of the API server that every kind has. */
export interface ApiObject {
  readonly metadata: {
    readonly name: string;
    readonly uid: string;
    readonly resourceVersion: string;
    readonly annotations?: Readonly<Record<string, string>>;
  };
}

export interface WatchEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'ERROR';
  readonly object: ApiObject;
}

/**
 * The port between the store and an API server: `ApiServer`, or one that is simulated. Rejects with
 * `StoreUnavailableError` when the server does not answer (a write may then have happened, or may still
 * happen), with `StoreRefusedError` when it denies access, and with `ApiFailure` for the answers that the
 * caller decides on (404, 409, 422: this call has written nothing).
 */
export interface Api extends Disposable {
  call<T>(method: Method, path: string, call?: Call): Promise<T>;
  /**
   * Calls `onEvent` for each event until the server ends the watch, or the signal aborts. If `onEvent`
   * throws, the watch has ended.
   */
  watch(path: string, onEvent: (event: WatchEvent) => void, signal: AbortSignal): Promise<void>;
}
