import type { StoreMirror } from '../../lock/engine/store-mirror.ts';
import { RecordConflictError } from '../../lock/errors.ts';
import type { RecordWrite, StoredRecord, TicketStore } from '../../lock/stores/ticket-store.ts';
import { allOf } from '../../running/all-of.ts';
import type { Clock } from '../../running/clock.ts';
import { messageOf } from '../../running/message-of.ts';
import { UnavailableError } from '../errors.ts';
import type { EventSink } from '../events.ts';
import { isRecordKey, mountMarkKey, nameInKey } from '../records/catalog.ts';
import type { Cluster } from '../records/cluster.ts';
import { clusterKey } from '../records/cluster.ts';
import type { LostRecords } from '../records/lost-records.ts';
import type { LostRecord } from '../records/remembered-text.ts';
import { isRemovedKey } from '../records/removed-volumes.ts';
import type { RestoredRecords } from '../records/restored-records.ts';
import { readRestored, restoredKey, restoredWrite } from '../records/restored-records.ts';
import { shownKey } from '../stored-text.ts';
import type { Finding, Outcome } from './finding.ts';
import { found } from './finding.ts';
import { clusterIn, clustersOf, onlyCluster } from './lost-cluster.ts';
import type { JudgeOptions, Verdict } from './lost-verdict.ts';
import { judgeRemoved, judgeVolume } from './lost-verdict.ts';

export interface LostDoctorOptions extends JudgeOptions {
  readonly lost: Pick<LostRecords, 'records' | 'isWiped'>;
  readonly remembered: { forgetLost(keys?: Iterable<string>): void };
  readonly cluster: Pick<Cluster, 'begin'>;
  readonly mirror: Pick<StoreMirror, 'isLive' | 'record' | 'wrote'>;
  readonly store: Pick<TicketStore, 'record' | 'commit'>;
  readonly events: EventSink;
  readonly clock: Clock;
}

interface Judged {
  readonly record: LostRecord;
  readonly verdict: Verdict;
}

/** The records that are written at once. */
const writtenAtOnce = 16;

const restoreCommand = 'berth doctor --restore-records';
const forgetCommand = 'berth doctor --forget-records';

const settledElsewhere = 'was put back or given up meanwhile, and stays as it is now';

/**
 * Puts records that the store has lost back from what this host remembers, or gives them up.
 *
 *     judge all ─► `restored/HISTORY` begun, with the cluster and the pools ─► volumes and trash ─► done
 *
 * Each record is written only where there is none, so another host that does the same, a Create meanwhile, and a
 * repeat after a crash change nothing that is there. A volume gets a mount mark of nobody with it: when it was
 * used last is not known, and no host can prove by its mark that nobody asked for it.
 */
export class LostDoctor {
  readonly #options: LostDoctorOptions;

  constructor(options: LostDoctorOptions) {
    this.#options = options;
  }

  /** Says of each record what putting it back would do. Changes nothing. */
  async examine(): Promise<Outcome[]> {
    const judged = await this.#judgeAll(await clustersOf(this.#options));
    return judged.map(({ record, verdict }) => found(findingOf(record, verdict)));
  }

  /**
   * Puts the records back. What could not be judged or written is left for a repeat. Rejects UnavailableError,
   * and writes nothing, if the store is that of another cluster or another host knows more.
   */
  async restore(): Promise<Outcome[]> {
    this.#requireStore();
    this.#requireSameCluster();
    const clusters = await clustersOf(this.#options);
    const cluster = onlyCluster(clusters);
    const judged = await this.#judgeAll(clusters);
    if (judged.length === 0) return [];
    const histories = newestSeen(judged.map(({ record }) => record));
    for (const [history, seen] of histories) await this.#begin(history, seen);
    const first = judged.filter(({ record }) => comesFirst(record.key));
    const others = judged.filter(({ record }) => !comesFirst(record.key));
    const outcomes = [...(await this.#write(first)), ...(await this.#write(others))];
    // An earlier release did not remember the cluster: its pools tell which one it was.
    if (this.#options.lost.isWiped && outcomes.every(isSettled)) {
      await this.#options.cluster.begin(cluster);
    }
    if (outcomes.every(isSettled)) {
      for (const [history, seen] of histories) await this.#mark(history, seen, 'done');
      // Of a history without an ID, no host goes by what the store says.
      this.#options.remembered.forgetLost(judged.map(({ record }) => record.key));
    }
    this.#report(outcomes);
    return outcomes;
  }

  /** Goes on without the records, on all hosts, as a new cluster if the record of the cluster is missing. */
  async forget(): Promise<Outcome[]> {
    this.#requireStore();
    const { lost, remembered, cluster, events } = this.#options;
    const records = [...lost.records.values()];
    if (lost.isWiped) await cluster.begin();
    for (const [history, seen] of newestSeen(records)) await this.#mark(history, seen, 'done');
    remembered.forgetLost();
    if (records.length > 0) {
      const message = `an operator goes on without records that the store has lost (${records.length})`;
      events.record({ severity: 'warning', kind: 'records-restored', volume: '', message });
    }
    return records.map((record) => settled(record, 'was missing in the store, and is forgotten'));
  }

  #requireStore(): void {
    if (this.#options.mirror.isLive) return;
    throw new UnavailableError("the store can't be reached, so nothing can be compared with it");
  }

  #requireSameCluster(): void {
    const { mirror, lost } = this.#options;
    const [own, stored] = [lost.records.get(clusterKey), mirror.record(clusterKey)].map(clusterIn);
    if (own === undefined || stored === undefined || own === stored) return;
    throw new UnavailableError(
      `the store belongs to another cluster (${stored}) than the one that this host remembers (${own}): ` +
        `nothing is put back; go over to it with "${forgetCommand}", or, if nobody uses that cluster, delete its ` +
        `record first (etcdctl del PREFIX/records/${clusterKey})`,
    );
  }

  async #judgeAll(clusters: readonly string[]): Promise<Judged[]> {
    const { lost } = this.#options;
    const cluster = clusters.length === 1 ? clusters[0] : undefined;
    const all = [...lost.records.values()].sort((a, b) => order(a.key) - order(b.key));
    return await allOf(
      all.map(async (record) => ({ record, verdict: await this.#judge(record, cluster) })),
    );
  }

  async #judge(record: LostRecord, cluster: string | undefined): Promise<Verdict> {
    if (isRecordKey(record.key)) return await judgeVolume(record, cluster, this.#options);
    if (isRemovedKey(record.key)) return await judgeRemoved(record, cluster, this.#options);
    return { is: 'write' };
  }

  /** Rejects UnavailableError if a host that knows more has begun. */
  async #begin(history: string, seen: number): Promise<void> {
    const other = await this.#restored(history);
    if (other && other.state === 'begun' && other.seen > seen) {
      throw new UnavailableError(
        `host ${other.by} has seen more of what the store has lost, and began to put it back at ${other.at}; ` +
          `complete it there with "${restoreCommand}"`,
      );
    }
    await this.#mark(history, seen, 'begun');
  }

  /** Writes how far the records of a history are put back, unless a host that knows more has completed that. */
  async #mark(history: string, seen: number, state: RestoredRecords['state']): Promise<void> {
    const { store, mirror, host, clock } = this.#options;
    for (;;) {
      const stored = await store.record(restoredKey(history));
      const before = stored && readRestored(stored);
      if (before?.state === 'done' && before.seen >= seen) return;
      const at = clock.date().toISOString();
      const nonce = crypto.randomUUID();
      const written = { state, seen, by: host, at, nonce };
      const write = restoredWrite(history, written, stored?.revision ?? 0);
      try {
        const { revision } = await store.commit({ guards: [], writes: [write], release: [] });
        mirror.wrote(revision, [write]);
        return;
      } catch (error) {
        if (!(error instanceof RecordConflictError)) throw error;
      }
    }
  }

  async #restored(history: string): Promise<RestoredRecords | undefined> {
    const stored = await this.#options.store.record(restoredKey(history));
    return stored && readRestored(stored);
  }

  async #write(all: readonly Judged[]): Promise<Outcome[]> {
    const outcomes: Outcome[] = new Array(all.length);
    const waiting = all.entries();
    const worker = async () => {
      for (const [index, judged] of waiting) outcomes[index] = await this.#writeOne(judged);
    };
    await allOf(Array.from({ length: writtenAtOnce }, worker));
    return outcomes;
  }

  async #writeOne({ record, verdict }: Judged): Promise<Outcome> {
    if (verdict.is === 'wait') return found(findingOf(record, verdict));
    if (verdict.is === 'leave') return settled(record, `is not put back: ${verdict.why}`);
    // Since the look, another host may have put all back, and somebody may have removed this one then.
    if (!this.#options.lost.records.has(record.key)) return settled(record, settledElsewhere);
    try {
      const isWritten = await this.#put(record);
      if (!isWritten) return settled(record, 'is in the store again; what is there stays');
      return settled(record, 'was missing in the store, and is put back');
    } catch (error) {
      return { ...findingOf(record, verdict), state: 'failed', error: messageOf(error) };
    }
  }

  /** Writes a record where there is none. False: there is one. */
  async #put({ key, value }: StoredRecord): Promise<boolean> {
    const { store, mirror } = this.#options;
    const own = { key, value, expectedRevision: 0 };
    const attempts: RecordWrite[][] = [[own]];
    if (isRecordKey(key)) {
      const mark = { key: mountMarkKey(nameInKey(key)), value: `restored-${crypto.randomUUID()}` };
      attempts.unshift([own, { ...mark, expectedRevision: 0 }]);
    }
    for (const writes of attempts) {
      try {
        const { revision } = await store.commit({ guards: [], writes, release: [] });
        mirror.wrote(revision, writes);
        return true;
      } catch (error) {
        // A volume that is mounted has its mark already; a record that is there stays.
        if (!(error instanceof RecordConflictError)) throw error;
      }
    }
    return false;
  }

  #report(outcomes: readonly Outcome[]): void {
    const left = outcomes.filter((each) => !isSettled(each)).length;
    const message =
      'an operator has put back what this host remembers of the records that the store had lost: ' +
      `${outcomes.length - left} settled, ${left} left`;
    const severity = left > 0 ? 'warning' : 'info';
    this.#options.events.record({ severity, kind: 'records-restored', volume: '', message });
  }
}

function isSettled({ state }: Outcome): boolean {
  return state === 'fixed';
}

/** The cluster and its pools come before all that lies in them. */
function comesFirst(key: string): boolean {
  return order(key) === 0;
}

function order(key: string): number {
  if (isRecordKey(key)) return 1;
  return isRemovedKey(key) ? 2 : 0;
}

/** Returns the highest revision that this host had seen in each history. */
function newestSeen(records: readonly LostRecord[]): Map<string, number> {
  const seen = new Map<string, number>();
  for (const { history, seen: at } of records) {
    seen.set(history, Math.max(seen.get(history) ?? 0, at));
  }
  return seen;
}

function settled(record: LostRecord, message: string): Outcome {
  return { kind: 'lost-record', what: nameOf(record), message, next: [], state: 'fixed' };
}

function findingOf(record: LostRecord, verdict: Verdict): Finding {
  const fact = { kind: 'lost-record', what: nameOf(record) } as const;
  const message = 'is missing in the store, and this host remembers it';
  if (verdict.is === 'write') {
    const next = [`put it back: ${restoreCommand}`, `go on without it: ${forgetCommand}`];
    return { ...fact, message, next };
  }
  const next =
    verdict.is === 'leave'
      ? [`${restoreCommand} does not put it back`]
      : [`repair that, then: ${restoreCommand}`];
  return { ...fact, message: `${message}; ${verdict.why}`, next };
}

/** Names a record for people: a volume by its name, one in the trash as `db@3f9a0c`, others by their key. */
function nameOf({ key }: LostRecord): string {
  if (isRecordKey(key)) return shownKey(nameInKey(key));
  const [, volume, id] = isRemovedKey(key) ? shownKey(key).split('/') : [];
  return volume === undefined ? `the record ${shownKey(key)}` : `${volume}@${id}`;
}
