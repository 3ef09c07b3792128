/** A leftover of interrupted work on this host. */
export interface FindingReply {
  /** The kind of finding, such as `storage-without-record`; docs/doctor.md lists the kinds. */
  readonly kind: string;
  /** `VOLUME`, `VOLUME@SNAPSHOT` or a path. */
  readonly what: string;
  readonly message: string;
  /** RFC 3339. */
  readonly since?: string;
  /** The repair that `--fix` makes; absent if only a person can repair it. */
  readonly fix?: string;
  /** Commands that a person can use. */
  readonly next: readonly string[];
  /** `found`: no repair was requested. */
  readonly state: 'found' | 'fixed' | 'failed';
  /** The reason why the repair failed. */
  readonly error?: string;
}

export interface DoctorReply {
  readonly findings: readonly FindingReply[];
}

/** The answer to an operator who accepts the store as it is; false: it was not refused. */
export interface AcceptedReply {
  readonly accepted: boolean;
}
