/** Every kind of event; docs/errors-and-events.md says when each is recorded. */
export const eventKinds = [
  'adopted',
  'answered',
  'aside',
  'copied',
  'dropped',
  'evicted',
  'failed',
  'fence-command',
  'fenced',
  'history',
  'host-gone',
  'incomplete',
  'kept',
  'killed',
  'lost',
  'not-restarted',
  'paused',
  'pool-away',
  'pool-back',
  'pool-filling',
  'pool-on-root',
  'pool-has-room',
  'put-back',
  'read-only',
  'records-lost',
  'records-restored',
  'relocked',
  'replaced',
  'restarted',
  'resumed',
  'settled',
  'silent',
  'stood-still',
  'stopped',
  'taken-over',
  'trash-emptied',
  'trashed',
] as const;

export type EventKind = (typeof eventKinds)[number];

/**
 * Something that happened to a volume on this host without a request, or that an operator must know
 * afterwards: for the event log.
 */
export interface VolumeEvent {
  /** `warning`: somebody should look at it. `error`: data or service was lost. */
  readonly severity: 'info' | 'warning' | 'error';
  readonly kind: EventKind;
  /** Empty: the event concerns the host, and no volume of it more than another. */
  readonly volume: string;
  /** A sentence for a person: what, why, and what to do next. */
  readonly message: string;
  /** The fencing token of the lock that the event concerns. */
  readonly token?: number;
  /** The time of the event (RFC 3339); absent: now. */
  readonly time?: string;
}

/** Receives events. `record` never throws, and never waits. */
export interface EventSink {
  record(event: VolumeEvent): void;
}
