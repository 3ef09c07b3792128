/*
 * The words of a takeover: `DriverTakeover` in driver.ts is the port.
 */

/** `at-once`: in well under a second. `full-copy`: as long as a copy of the volume's data takes. */
export type TakeoverAbility = 'at-once' | 'full-copy';

/** The host that had a volume mounted and has not said that it ended. */
export interface FormerOwner {
  /** The name of the host. */
  readonly host: string;
  /** The identity of the host. */
  readonly owner: string;
  readonly addresses: readonly string[];
  /** The mark of its Mount: unique for ever, and fit for a file name. */
  readonly mark: string;
  /** The fencing token of its Mount. */
  readonly token: number;
  /** The time of that Mount (RFC 3339), by that host's clock. */
  readonly since: string;
}

/** Storage that a former owner's writes reach after a takeover. */
export interface PutAside {
  readonly mark: string;
  readonly host: string;
  readonly token: number;
  /** The time of the takeover (RFC 3339). */
  readonly since: string;
  /** The path, for a person. */
  readonly path: string;
  readonly bytes: number;
  /**
   * The time of the last write after the takeover (RFC 3339); undefined: nothing was written, apart from what
   * a kernel writes by itself and what it had promised before.
   */
  readonly writtenAt?: string | undefined;
  /** How much was written after the takeover; undefined: nothing, or it is not known. */
  readonly writtenBytes?: number | undefined;
}
