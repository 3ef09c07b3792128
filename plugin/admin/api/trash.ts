/** A removed volume that the trash keeps. */
export interface RemovedReply {
  readonly volume: string;
  /** Tells the removed volumes of one name apart. */
  readonly id: string;
  readonly driver: string;
  readonly options: Readonly<Record<string, string>>;
  /** The names of its snapshots, oldest first. */
  readonly snapshots: readonly string[];
  /** RFC 3339. */
  readonly removedAt: string;
  /** The host that removed it. */
  readonly removedBy: string;
  /** RFC 3339. It goes earlier if its pool needs the space. */
  readonly keptUntil: string;
  /** The bytes that it occupies. */
  readonly bytes?: number;
  /** The reason why that could not be measured. */
  readonly bytesError?: string;
}

/** The removed volumes, the first removed first. */
export interface TrashReply {
  /** Milliseconds for which this host keeps what it removes; 0: not at all. Absent in the answer of an earlier release. */
  readonly termMs?: number;
  readonly removed: readonly RemovedReply[];
}

/** A removed volume that was restored, and the name that it has now. */
export interface RestoredReply {
  readonly volume: string;
  readonly id: string;
  readonly removedAt: string;
  readonly as: string;
}
