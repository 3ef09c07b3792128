import type { HistoryRecord, RememberedHistory, Verdict } from './history-record.ts';

/** The length of a quarantine if nobody knows the TTL of the sessions. */
export const defaultTtlMs = 20_000;

/** Keeps what this host knows of the store's history over a restart. */
export interface HistoryMemory {
  /** The history that an earlier process saved. */
  readonly before: RememberedHistory | undefined;
  /** Called at each change, before a lock of the new history is used, and when the revision grew. */
  save(remembered: RememberedHistory): Promise<void>;
}

export interface HistoryOptions {
  /** Absent: another history than that of an earlier process is not noticed at the start. */
  readonly memory?: HistoryMemory | undefined;
  /** The host's name, for people. */
  readonly host?: string | undefined;
  /** The TTL of the host's sessions, as far as it is known before the first one is opened. */
  readonly ttlMs?: number | undefined;
}

/** The signs by which a store may have another history than before. */
export interface HistorySigns {
  /** The highest revision that was seen since `begin`. */
  readonly revision: number;
  /** The number of suspicions so far; at the start there is one. */
  readonly suspicions: number;
  suspect(): void;
  /** From now on, answers are of these servers, and of this revision or a later one. */
  begin(cluster: string, revision: number): void;
}

/** The part of one look at a store that all stores have. */
export interface FoundHistory {
  readonly record: HistoryRecord | undefined;
  readonly isQuarantined: boolean;
  readonly revision: number;
}

/** The part of a new history's record that was not found in the store. */
export interface NewHistory {
  /** Absent: it is the first history, which begins no quarantine. */
  readonly why: string | undefined;
  /** The name of this host, for people. */
  readonly host: string | undefined;
  readonly known: RememberedHistory | undefined;
  /** The longest TTL of this process's sessions. */
  readonly ttlMs: number;
}

/** The record of the history in one kind of store. */
export interface HistorySource<F extends FoundHistory> {
  /** The store's name, for people. */
  readonly name: string;
  readonly signs: HistorySigns;
  /** Reads the record and the quarantine, linearizably. */
  read(): Promise<F>;
  judge(found: F, known: RememberedHistory | undefined, floor: number): Verdict;
  /**
   * Writes the record of a new history, and its quarantine unless it is the first. Resolves to undefined
   * if another host has written the record meanwhile.
   */
  write(found: F, begun: NewHistory): Promise<HistoryRecord | undefined>;
  /** Raises the TTL in a record. Resolves to false if another host has written it meanwhile. */
  raiseTtl(found: F, raised: HistoryRecord): Promise<boolean>;
}
