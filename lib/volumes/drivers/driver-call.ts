/** A volume, as a caller names it to a driver. */
export interface DriverVolume {
  readonly name: string;
  /** The options that `parseOptions` returned. */
  readonly options: Readonly<Record<string, string>>;
}

/** The circumstances of a call. */
export interface DriverContext {
  /** Aborts when the caller's locks are lost or the caller gave up: stop, undo, reject. */
  readonly signal: AbortSignal;
  /** The lock on the volume under which the caller works. Absent in tests of a driver alone. */
  readonly lock?: DriverLock | undefined;
  /**
   * For `mount`: true if this host has held the volume's lock without a gap since it mounted the volume
   * last, so that nobody else can have written to it.
   */
  readonly isContinued?: boolean;
  /**
   * For `create` and `remove`: the mark that the pool must have. They look for it first, and reject PoolMarkError
   * with nothing changed if there is none, another one, or no way to write. Absent: the caller has looked.
   */
  readonly poolMark?: string | undefined;
  /** Called now and then during a long copy. */
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

/** The lock of a caller, as far as a driver needs it to tell its holders apart. */
export interface DriverLock {
  /** Larger for each later holder, in one past of the store. */
  readonly token: number;
  /**
   * Asks the store whether the lock is still held; rejects if it is not, or if the store does not say.
   * Resolves only to what was true after the call: a host that was frozen must ask after its pause. A driver
   * calls it once it has read all that it copies: the containers of a volume without a file system of its
   * own stand still until then.
   */
  confirm(): Promise<void>;
}

/** How far a copy is. The totals were counted while the source was in use. */
export interface Progress {
  readonly doneBytes: number;
  readonly totalBytes: number;
  /** Files and directories; a file with several names counts once. */
  readonly doneFiles: number;
  readonly totalFiles: number;
}
