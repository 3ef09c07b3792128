/**
 * Where the engine's figures go: one port for counters and histograms, for a metrics library to
 * stand behind. It is called from the engine's own code: it must be quick and must not throw.
 */
export interface LockObserver {
  /** One more of something that is counted. */
  count(what: LockCounter, labels: LockLabels): void;
  /** How long something took, in seconds. */
  measure(what: LockHistogram, seconds: number, labels: LockLabels): void;
}

/**
 * - `requests`: requests for locks that have ended, by reason and outcome (`granted`, or the code of
 *   the LockError; `failed` for any other error).
 * - `losses`: locks that were lost while they were held, by reason.
 * - `renewals`: of sessions, by outcome (`renewed`, `failed`, `gone`).
 */
export type LockCounter = 'requests' | 'losses' | 'renewals';

/**
 * - `wait`: from a request to its end, by reason and outcome.
 * - `hold`: from a grant to the unlock or the loss, by reason.
 * - `unlock`: from an unlock until the store has confirmed it, or it goes on in the background.
 * - `renewal`: of a session, by outcome.
 */
export type LockHistogram = 'wait' | 'hold' | 'unlock' | 'renewal';

/** Few different values each: names of locks are not among them. */
export interface LockLabels {
  readonly reason?: string;
  readonly outcome?: string;
}
