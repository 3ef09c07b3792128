export interface SnapshotReply {
  readonly name: string;
  readonly createdAt: string;
  /** `moment`, or `live`: files copied one after the other while they were in use. Absent: not known. */
  readonly kind?: string | undefined;
  /** The bytes that it occupied in the pool when it was taken. Absent: not known. */
  readonly bytes?: number | undefined;
  /** The snapshot that its content descends from. */
  readonly parent?: string | undefined;
}

/** The end of a copy of a volume in use. */
export interface StoodStill {
  /** How long its containers stood still; absent if they did not have to. */
  readonly stoodStillMs?: number;
}

export interface SnapshotTaken extends StoodStill {
  readonly snapshot: SnapshotReply;
}
