/**
 * Receives the engine's counters and histograms, for a metrics library. The engine calls the
 * observer in the middle of its work: the observer must be quick and must not throw.
 */
export interface LockObserver {
  /** Adds one to a counter. */
  count(what: LockCounter, labels: LockLabels): void;
  /** Records a duration in seconds. */
  measure(what: LockHistogram, seconds: number, labels: LockLabels): void;
}

/**
 * - `requests`: finished requests for locks, by reason and outcome (`granted`, or the code of the
 *   LockError; `failed` for any other error).
 * - `losses`: held locks that were lost, by reason.
 * - `renewals`: renewals of sessions, by outcome (`renewed`, `failed`, `gone`).
 */
export type LockCounter = 'requests' | 'losses' | 'renewals';

/**
 * - `wait`: time from a request to its end, by reason and outcome.
 * - `hold`: time from a grant to the unlock or the loss, by reason.
 * - `unlock`: time from an unlock until the store confirms it or it moves to the background.
 * - `renewal`: time of a session's renewal, by outcome.
 */
export type LockHistogram = 'wait' | 'hold' | 'unlock' | 'renewal';

/** Labels with few different values: no names of locks. */
export interface LockLabels {
  readonly reason?: string;
  readonly outcome?: string;
}
