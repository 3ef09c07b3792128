/**
 * Lets everybody who uses a volume on this host stand still, so that a copy of its files is of one moment
 * although its driver can't freeze it.
 */
export interface Standstills {
  /**
   * Resolves when nobody on this host writes to the mounted volume any more. Rejects NotStillError when that
   * is not reached within `limitMs`. They run again after the end, and `limitMs` after the call at the
   * latest, also if this process has ended.
   */
  begin(volume: string, limitMs: number): Promise<Standstill>;
}

/** The time during which nobody on this host writes to a volume. */
export interface Standstill extends AsyncDisposable {
  /** Aborts when the limit has come: they run again. */
  readonly signal: AbortSignal;
  /**
   * Lets them run again. Resolves if nobody can have written since the begin; rejects NotStillError if
   * somebody may have. Idempotent.
   */
  end(): Promise<void>;
  /** The milliseconds for which they have stood still. */
  readonly tookMs: number;
}
