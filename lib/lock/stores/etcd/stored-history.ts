import { randomUUID } from 'node:crypto';
import type { EtcdClient, IKeyValue, IRequestOp } from '../../../etcd/client.ts';
import { EtcdRefusedError } from '../../../etcd/client.ts';
import type { HistoryRecord, RememberedHistory, Verdict } from '../history-record.ts';
import { historySchema, pastOf } from '../history-record.ts';
import type { FoundHistory, HistorySigns, HistorySource, NewHistory } from '../history-source.ts';
import { defaultTtlMs } from '../history-source.ts';
import { judgeEtcd } from './history-verdict.ts';
import type { EtcdKeys } from './keys.ts';
import { foundIn, hasModRevision } from './txn.ts';

/** How many entries of the log a member may have applied before it counts them. */
const slackEntries = 2;

/** How often the log's length is asked for until the member that answered before answers again. */
const maxLooks = 3;

/** The record of the store's history, and what one look at etcd tells of it. */
export interface FoundEtcdHistory extends FoundHistory {
  readonly modRevision: number;
  readonly cluster: string;
  /** The entries of the log that were applied after that revision, if etcd tells. */
  readonly applied: number | undefined;
}

/** Reads and writes the record of the store's history, and begins the quarantine after a change. */
export class StoredHistory implements HistorySource<FoundEtcdHistory> {
  readonly name = 'etcd';
  readonly #client: EtcdClient;
  readonly #keys: EtcdKeys;

  constructor(client: EtcdClient, keys: EtcdKeys) {
    this.#client = client;
    this.#keys = keys;
  }

  get signs(): HistorySigns {
    return this.#client.headers;
  }

  judge(found: FoundEtcdHistory, known: RememberedHistory | undefined, floor: number): Verdict {
    const spare = found.applied === undefined ? undefined : found.applied - found.revision;
    return judgeEtcd(found.record, known, { ...found, floor, spare });
  }

  /** Reads the record and the quarantine, then the length of the log from the same member. */
  async read(): Promise<FoundEtcdHistory> {
    for (let looks = 1; ; looks += 1) {
      const { historyKey, quarantineKey } = this.#keys;
      const answer = await this.#client.txn({
        compare: [],
        success: [historyKey, quarantineKey].map((key) => ({ request_range: { key } })),
        failure: [],
      });
      const { cluster_id: cluster, member_id, revision } = answer.header;
      const applied = await this.#client.applied().catch((error) => {
        if (error instanceof EtcdRefusedError) return undefined; // This user may not ask.
        throw error;
      });
      // Another member may be behind.
      const isSame = applied?.member === member_id;
      if (applied && !isSame && looks < maxLooks) continue;
      const kvs = foundIn(answer.responses);
      const stored = kvs.find(({ key }) => key.equals(historyKey));
      return {
        record: stored && parsed(stored),
        modRevision: Number(stored?.mod_revision ?? 0),
        isQuarantined: kvs.some(({ key }) => key.equals(quarantineKey)),
        cluster,
        revision: Number(revision),
        applied: isSame && applied.entries > 0 ? applied.entries : undefined,
      };
    }
  }

  async write(
    found: FoundEtcdHistory,
    { why, host, known, ttlMs: ownTtlMs }: NewHistory,
  ): Promise<HistoryRecord | undefined> {
    const { historyKey, quarantineKey } = this.#keys;
    const ttlMs = Math.max(ownTtlMs, found.record?.ttlMs ?? 0, known?.ttlMs ?? 0);
    const quarantineMs = ttlMs || defaultTtlMs;
    // Read after the length of the log, so that the difference is not too large.
    const after = await this.#client.range({ key: historyKey, keys_only: true });
    const spare =
      found.applied === undefined
        ? undefined
        : found.applied - Number(after.header.revision) - slackEntries;
    const record: HistoryRecord = {
      id: randomUUID(),
      since: new Date().toISOString(),
      ...(why !== undefined && { why, by: host }),
      cluster: found.cluster,
      ...(spare !== undefined && { spare }),
      past: pastOf(found.record, known),
      ttlMs,
    };
    const puts: IRequestOp[] = [putOf(historyKey, record)];
    if (why !== undefined) {
      const { id: lease } = await this.#client.leaseGrant(Math.ceil(quarantineMs / 1000));
      const value = Buffer.from(record.id);
      puts.push({ request_put: { key: quarantineKey, value, lease } });
    }
    return (await this.#replace(found, puts)) ? record : undefined;
  }

  async raiseTtl(found: FoundEtcdHistory, raised: HistoryRecord): Promise<boolean> {
    return await this.#replace(found, [putOf(this.#keys.historyKey, raised)]);
  }

  async #replace({ modRevision }: FoundEtcdHistory, success: IRequestOp[]): Promise<boolean> {
    const compare = [hasModRevision(this.#keys.historyKey, modRevision)];
    const { succeeded } = await this.#client.txn({ compare, success, failure: [] });
    return succeeded;
  }
}

function putOf(key: Buffer, record: HistoryRecord): IRequestOp {
  return { request_put: { key, value: Buffer.from(JSON.stringify(record)) } };
}

function parsed({ key, value }: IKeyValue): HistoryRecord {
  try {
    return historySchema.parse(JSON.parse(value.toString()));
  } catch (error) {
    const text = `etcd's key ${key} is not one that this version of berth can read; run the version that wrote it`;
    throw new EtcdRefusedError(text, { cause: error });
  }
}
