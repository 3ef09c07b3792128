import type {
  StoreChange,
  StoredRecord,
  StoreHistoryName,
} from '../../lock/stores/ticket-store.ts';
import { UnreadableRecordError } from '../stored-text.ts';
import { isRecordKey } from './catalog.ts';
import { clusterKey, readClusterRecord } from './cluster.ts';
import { isPoolKey } from './pool-key.ts';
import type { Remembered } from './remembered-text.ts';
import {
  deleteLine,
  foundLine,
  highest,
  historyLine,
  lostLine,
  putLine,
} from './remembered-text.ts';
import { isRemovedKey } from './removed-volumes.ts';
import { isRestoredKey, readRestored } from './restored-records.ts';

/**
 * Decides what a host remembers of the store, and which of it the store has **lost**. No time, no disk.
 *
 *     known ── deleted, while the record of the cluster stands, in the same history ──► forgotten: a Remove
 *       │ ▲
 *       │ └─ the store has it (again) ─────────────────────────┐
 *       └─── missing, and the store has another history, ──► lost ── `restored` says that it was removed ──► forgotten
 *            no record of the cluster, or another cluster's
 *
 * berth never deletes the record of the cluster. So a record that is missing together with it was deleted by
 * no Remove, and neither was one that is missing from another history: a Remove of this history, which this
 * host has not seen, would be one of a volume that the store had.
 */
export class RecordMemory {
  readonly state: Remembered;
  #dirtyKnown = new Set<string>();
  #dirtyLost = new Set<string>();
  #isHistoryDirty = false;

  constructor(state: Remembered) {
    this.state = state;
  }

  /** True for the key of a record that a host remembers: cluster, volumes, pools, and the trash. */
  static remembers(key: string): boolean {
    return key === clusterKey || isRecordKey(key) || isPoolKey(key) || isRemovedKey(key);
  }

  /** Compares with all records of the store. */
  reset(records: Iterable<StoredRecord>, history: StoreHistoryName | undefined): void {
    const { known } = this.state;
    const all = [...records];
    const present = new Map(
      all.filter(({ key }) => RecordMemory.remembers(key)).map((each) => [each.key, each]),
    );
    const isLoss =
      this.#isOther(history, present.has(clusterKey)) ||
      this.#lacks(present) ||
      this.#isReplaced(present);
    for (const key of [...known.keys()]) {
      if (present.has(key)) continue;
      if (isLoss) this.#lose(key);
      else this.#forget(key);
    }
    for (const record of present.values()) this.#see(record);
    if (history !== undefined && history.id !== this.state.history) {
      this.state.history = history.id;
      this.state.seen = highest(known.values());
      this.#isHistoryDirty = true;
    }
    for (const record of all) this.#takeRestored(record);
  }

  /** Follows one change of the store; false: it concerns nothing that is remembered. */
  change({ records, removedRecords, revision }: StoreChange, hasCluster: boolean): boolean {
    const seen = records.filter(({ key }) => RecordMemory.remembers(key));
    const removed = removedRecords.filter((key) => RecordMemory.remembers(key));
    const isLoss = !hasCluster && this.#knewCluster();
    for (const key of removed) {
      if (isLoss) this.#lose(key);
      else this.#forget(key);
    }
    for (const record of seen) this.#see(record);
    if (removed.length > 0 && !isLoss) this.state.seen = Math.max(this.state.seen, revision);
    for (const record of records) this.#takeRestored(record);
    return this.isDirty;
  }

  /** Forgets what the store lacks: all, or the records of these keys. */
  forgetLost(keys: Iterable<string> = [...this.state.lost.keys()]): void {
    for (const key of keys) this.#found(key);
  }

  get isDirty(): boolean {
    return this.#dirtyKnown.size + this.#dirtyLost.size > 0 || this.#isHistoryDirty;
  }

  /**
   * Takes what has changed since the last call: its lines, and what makes the same changes to the state of a
   * file. The history comes last: without its line, the losses are found once more.
   */
  take(): { readonly lines: string; readonly apply: (file: Remembered) => void } {
    const { known, lost, history, seen } = this.state;
    const changedLost = [...this.#dirtyLost].map((key) => ({ key, record: lost.get(key) }));
    const changedKnown = [...this.#dirtyKnown].map((key) => ({ key, record: known.get(key) }));
    const isHistoryDirty = this.#isHistoryDirty && history !== undefined;
    this.#dirtyKnown = new Set();
    this.#dirtyLost = new Set();
    this.#isHistoryDirty = false;
    const lines = [
      ...changedLost.map(({ key, record }) => (record ? lostLine(record) : foundLine(key))),
      ...changedKnown.map(({ key, record }) => (record ? putLine(record) : deleteLine(key, seen))),
      ...(isHistoryDirty ? [historyLine(history)] : []),
    ];
    return {
      lines: lines.join(''),
      apply: (file) => {
        for (const { key, record } of changedLost) replace(file.lost, key, record);
        for (const { key, record } of changedKnown) replace(file.known, key, record);
        file.history = history;
        file.seen = seen;
      },
    };
  }

  /** Takes with the next call what the file lacks. */
  retake(file: Remembered): void {
    const { known, lost } = this.state;
    this.#dirtyKnown = new Set([...known.keys(), ...file.known.keys()]);
    this.#dirtyLost = new Set([...lost.keys(), ...file.lost.keys()]);
    this.#isHistoryDirty = true;
  }

  #isOther(history: StoreHistoryName | undefined, hasCluster: boolean): boolean {
    const before = this.state.history;
    if (before === undefined || history === undefined) return false;
    // The file of an earlier release does not say of which history it is.
    return before === '' ? !hasCluster : before !== history.id;
  }

  #lacks(present: ReadonlyMap<string, StoredRecord>): boolean {
    return !present.has(clusterKey) && this.#knewCluster();
  }

  /** True: the record of the cluster was deleted while this host was away, and another host has begun a new cluster. */
  #isReplaced(present: ReadonlyMap<string, StoredRecord>): boolean {
    const [before, now] = [this.state.known, present].map((records) => {
      const record = records.get(clusterKey);
      return record && clusterIdIn(record.value);
    });
    return before !== undefined && now !== undefined && before !== now;
  }

  #knewCluster(): boolean {
    return this.state.known.has(clusterKey) || this.state.lost.has(clusterKey);
  }

  #see({ key, value, revision }: StoredRecord): void {
    const { known, lost } = this.state;
    const before = known.get(key);
    const isOtherCluster = key === clusterKey && this.#isOtherCluster(value);
    if (isOtherCluster && before) this.#lose(key);
    if (lost.has(key) && !isOtherCluster) this.#found(key);
    this.state.seen = Math.max(this.state.seen, revision);
    if (before?.value === value && before.revision === revision && !isOtherCluster) return;
    known.set(key, { key, value, revision });
    this.#dirtyKnown.add(key);
  }

  /** True for the record of another cluster than the one that this host belongs to. */
  #isOtherCluster(value: string): boolean {
    const own = this.state.lost.get(clusterKey) ?? this.state.known.get(clusterKey);
    const [before, now] = [own && clusterIdIn(own.value), clusterIdIn(value)];
    return before !== undefined && now !== undefined && before !== now;
  }

  #lose(key: string): void {
    const { known, lost, history = '', seen } = this.state;
    const record = known.get(key);
    if (!record) return;
    known.delete(key);
    this.#dirtyKnown.add(key);
    if (lost.has(key)) return; // The first loss is of the history in which it was whole.
    lost.set(key, { ...record, history, seen });
    this.#dirtyLost.add(key);
  }

  #forget(key: string): void {
    if (this.state.known.delete(key)) this.#dirtyKnown.add(key);
    if (this.state.lost.has(key)) this.#found(key); // Put back, and then removed.
  }

  #found(key: string): void {
    if (this.state.lost.delete(key)) this.#dirtyLost.add(key);
  }

  /** Forgets what another host has not put back although it knew at least as much as this one. */
  #takeRestored(stored: StoredRecord): void {
    if (!isRestoredKey(stored.key)) return;
    const restored = readableRestored(stored);
    // What each host saw of a history that has no ID is not known: another one may have known less than this one.
    if (restored?.state !== 'done' || restored.history === '') return;
    for (const { key, history, revision } of [...this.state.lost.values()]) {
      if (history === restored.history && revision <= restored.seen) this.#found(key);
    }
  }
}

function replace<T>(map: Map<string, T>, key: string, value: T | undefined): void {
  if (value === undefined) map.delete(key);
  else map.set(key, value);
}

function readableRestored(stored: StoredRecord) {
  try {
    return readRestored(stored);
  } catch (error) {
    if (error instanceof UnreadableRecordError) return undefined; // The doctor and the status name it.
    throw error;
  }
}

/** Undefined: this release can't read it. */
function clusterIdIn(value: string): string | undefined {
  try {
    return readClusterRecord({ key: clusterKey, value }).id;
  } catch (error) {
    if (error instanceof UnreadableRecordError) return undefined;
    throw error;
  }
}
