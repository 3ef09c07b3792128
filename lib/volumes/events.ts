/**
 * What happened to a volume on this host without anybody asking for it, or that an operator has to
 * know afterwards: for the event log.
 */
export interface VolumeEvent {
  /** `warning`: somebody should look at it. `error`: data or service was lost. */
  readonly severity: 'info' | 'warning' | 'error';
  /** What happened, one word: `adopted`, `paused`, `resumed`, `lost`, `fenced`, `settled` … */
  readonly kind: string;
  readonly volume: string;
  /** A sentence for a person: what, why, and what to do next. */
  readonly message: string;
  /** The fencing token of the lock that it concerns. */
  readonly token?: number;
  /** When it happened (RFC 3339), if that was not just now. */
  readonly time?: string;
}

/** Where events go. Never throws, and never waits. */
export interface EventSink {
  record(event: VolumeEvent): void;
}
