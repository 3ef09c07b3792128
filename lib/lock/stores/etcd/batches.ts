import type { ICompare, IRequestOp, ITxnRequest, ITxnResponse } from '../../../etcd/client.ts';
import { EtcdRefusedError, LeaseGoneError } from '../../../etcd/client.ts';
import { maxTxnOps } from './txn.ts';

/** Sends one Txn with a time limit; rejects as `EtcdClient.txn`. */
export type Transact = (request: ITxnRequest, timeoutMs: number) => Promise<ITxnResponse>;

/** A comparison that many Txns at once require. */
export interface Requirement {
  /** The name: requirements of one name are the same. */
  readonly name: string;
  readonly compare: ICompare;
  /** Reads, if the Txn does nothing, whether it was for this. */
  readonly look?: IRequestOp;
}

/** A Txn that can share a round trip with others. */
export interface BatchRequest {
  readonly txn: ITxnRequest;
  /** Further comparisons of the Txn, which others of its batch make, too. */
  readonly requires?: readonly Requirement[];
  /** The names of the locks and the keys of the records that the Txn changes, or that only it may read now. */
  readonly touches: readonly string[];
  /** The names that the Txn reads, or changes in a way that does not concern others which only read them. */
  readonly reads?: readonly string[];
  /** The lease of the keys that the Txn writes, or the permanent session. */
  readonly lease?: string;
  /** The Txn is part of work that frees space, so it must succeed when etcd has none left. */
  readonly freesSpace?: boolean;
}

/** How long a request waits, at most, for the answer to the Txn before it. */
const patienceMs = 100;

/** The size of a batch stays below etcd's limit of 1.5 MiB (--max-request-bytes). */
const maxBatchBytes = 1_000_000;

/**
 * Group commit. While a Txn is running, new requests collect; then they go out together as nested
 * Txns of the next one. A single request goes out alone, at once.
 *
 * etcd allows no key to be written twice in one Txn, and makes all comparisons before any write; so
 * two requests of which one touches what the other touches or reads never share a batch. Shared locks are read:
 * each request writes a key of its own, and none depends on the others. A lease that is
 * gone fails the whole batch, so a batch never has two leases. All writes of a batch have one
 * revision.
 *
 * What all of a batch require (that their session is this process's, say) is compared once. If it is not so, nothing
 * is written and the requests go out one by one, each with its own comparisons.
 *
 * When its database is full (NOSPACE alarm), etcd refuses a Txn that puts keys, but it does not
 * count the puts of nested Txns. So each batch repeats one put in a branch that never runs: a full
 * database then refuses batches as it refuses single requests. A request that frees space goes out
 * nested, without that branch.
 */
export class EtcdBatches {
  readonly #transact: Transact;
  readonly #timeoutMs: number;
  #waiting: Member[] = [];
  #underWay = 0;
  #overdueTimer: NodeJS.Timeout | undefined;

  /** `timeoutMs`: the limit of a request, from the call of `send`. */
  constructor(transact: Transact, timeoutMs: number) {
    this.#transact = transact;
    this.#timeoutMs = timeoutMs;
  }

  /**
   * Sends a request. Rejects as a Txn of its own: after any error but LeaseGoneError and
   * EtcdRefusedError, it is unknown whether etcd has executed the request.
   */
  send(request: BatchRequest): Promise<ITxnResponse> {
    const answer = Promise.withResolvers<ITxnResponse>();
    this.#waiting.push({ ...request, answer, askedAt: performance.now() });
    if (this.#underWay === 0) this.#sendNext();
    else this.#overdueTimer ??= setTimeout(this.#sendOverdue, patienceMs);
    return answer.promise;
  }

  #sendNext(): void {
    const batch = this.#takeBatch();
    if (batch.length === 0) return;
    this.#underWay += 1;
    void this.#exchange(batch).then(() => {
      // After the callers have continued, so that their next requests share a batch.
      process.nextTick(() => {
        this.#underWay -= 1;
        if (this.#underWay === 0) this.#sendNext();
      });
    });
  }

  /** Sends requests that have waited too long for an answer, or for others with the same name. */
  #sendOverdue = () => {
    this.#overdueTimer = undefined;
    const [first] = this.#waiting;
    if (!first) return;
    const leftMs = first.askedAt + patienceMs - performance.now();
    if (leftMs > 1) this.#overdueTimer = setTimeout(this.#sendOverdue, leftMs);
    else while (this.#waiting.length > 0) this.#sendNext();
  };

  /** Takes the first request and all that can go with it. Requests for a name keep their order. */
  #takeBatch(): Member[] {
    if (this.#waiting.length <= 1) return this.#waiting.splice(0);
    const batch: Member[] = [];
    const left: Member[] = [];
    /** The names that earlier requests touch; true if they only read them. */
    const touched = new Map<string, boolean>();
    const required = new Set<string>();
    let largest = 0;
    let bytes = 0;
    let lease: string | undefined;
    for (const member of this.#waiting) {
      const { touches, reads = [], requires = [] } = member;
      const isApart =
        touches.every((name) => !touched.has(name)) &&
        reads.every((name) => touched.get(name) ?? true);
      const largestThen = Math.max(largest, opsOf(member.txn));
      const bytesThen = bytes + bytesOf(member.txn);
      const requiredThen = required.size + requires.length;
      const opsThen = Math.max(batch.length + 1, requiredThen) + (requiredThen > 0 ? 1 : 0);
      const fits = opsThen + largestThen <= maxTxnOps && bytesThen <= maxBatchBytes;
      const agrees = !lease || !member.lease || lease === member.lease;
      const goes = batch.length === 0 || (isApart && fits && agrees);
      // One that reads may pass another that stays, but not one that touches.
      for (const name of reads) touched.set(name, touched.get(name) ?? true);
      for (const name of touches) touched.set(name, false);
      if (goes) {
        batch.push(member);
        for (const { name } of requires) required.add(name);
        largest = largestThen;
        bytes = bytesThen;
        lease ??= member.lease;
      } else {
        left.push(member);
      }
    }
    this.#waiting = left;
    return batch;
  }

  /** Sends a batch and answers its members; never rejects. */
  async #exchange(batch: readonly Member[]): Promise<void> {
    const [first, ...others] = batch;
    if (!first) return;
    const timeoutMs = Math.max(1, first.askedAt + this.#timeoutMs - performance.now());
    try {
      if (others.length === 0) {
        first.answer.resolve(await this.#transactAlone(first, timeoutMs));
        return;
      }
      const { compare, success } = sharedTxn(batch);
      const isPlain = compare.length === 0;
      const all = isPlain ? success : [{ request_txn: { compare, success, failure: [] } }];
      const failure = batch.flatMap(countedPuts).slice(0, 1);
      const answer = await this.#transact({ compare: [], success: all, failure }, timeoutMs);
      const shared = isPlain ? answer : answer.responses[0]?.response_txn;
      if (shared?.succeeded === false) {
        await this.#exchangeOneByOne(batch);
        return;
      }
      for (const [index, member] of batch.entries()) {
        const own = shared?.responses[index]?.response_txn;
        if (own) member.answer.resolve({ ...own, header: answer.header });
        else member.answer.reject(noPart());
      }
    } catch (error) {
      await this.#fail(batch, error);
    }
  }

  async #transactAlone(request: BatchRequest, timeoutMs: number): Promise<ITxnResponse> {
    const txn = wholeTxn(request);
    if (!request.freesSpace) return this.#transact(txn, timeoutMs);
    const nested = { compare: [], success: [{ request_txn: txn }], failure: [] };
    const { responses, header } = await this.#transact(nested, timeoutMs);
    const own = responses[0]?.response_txn;
    if (!own) throw noPart();
    return { ...own, header };
  }

  async #exchangeOneByOne(batch: readonly Member[]): Promise<void> {
    await Promise.all(batch.map((member) => this.#exchange([member])));
  }

  /** Rejects the members that an error concerns; sends the others again if nothing was written. */
  async #fail(batch: readonly Member[], error: unknown): Promise<void> {
    if (batch.length > 1 && error instanceof LeaseGoneError) {
      for (const { lease, answer } of batch) if (lease !== undefined) answer.reject(error);
      await this.#exchange(batch.filter(({ lease }) => lease === undefined));
    } else if (batch.length > 1 && error instanceof EtcdRefusedError) {
      await this.#exchangeOneByOne(batch);
    } else {
      for (const { answer } of batch) answer.reject(error);
    }
  }
}

interface Member extends BatchRequest {
  readonly answer: PromiseWithResolvers<ITxnResponse>;
  readonly askedAt: number;
}

function noPart(): TypeError {
  return new TypeError('etcd did not answer a part of a Txn');
}

/** Returns the Txn of a request that has no other in its batch. */
function wholeTxn({ txn, requires = [] }: BatchRequest): ITxnRequest {
  if (requires.length === 0) return txn;
  const looks = requires.flatMap(({ look }) => (look ? [look] : []));
  return {
    ...txn,
    compare: [...(txn.compare ?? []), ...requires.map(({ compare }) => compare)],
    failure: [...(txn.failure ?? []), ...looks],
  };
}

/** Returns what all requests of a batch require, and their Txns. */
function sharedTxn(batch: readonly BatchRequest[]): { compare: ICompare[]; success: IRequestOp[] } {
  const required = new Map<string, ICompare>();
  for (const { requires = [] } of batch) {
    for (const { name, compare } of requires) required.set(name, compare);
  }
  const success = batch.map(({ txn }) => ({ request_txn: txn }));
  return { compare: [...required.values()], success };
}

/** Returns the puts that a full etcd must refuse. */
function countedPuts({ txn, freesSpace }: BatchRequest): IRequestOp[] {
  if (freesSpace) return [];
  return [...(txn.success ?? []), ...(txn.failure ?? [])].filter((op) => op.request_put);
}

/** Counts operations as etcd does: the longest list, plus the largest nested Txn. */
function opsOf({ compare = [], success = [], failure = [] }: ITxnRequest): number {
  let nested = 0;
  for (const branch of [success, failure]) {
    for (const { request_txn } of branch) {
      if (request_txn) nested = Math.max(nested, opsOf(request_txn));
    }
  }
  return Math.max(compare.length, success.length, failure.length) + nested;
}

/** Estimates the bytes of a Txn; exact for long keys and values, where it matters. */
function bytesOf({ compare = [], success = [], failure = [] }: ITxnRequest): number {
  let bytes = 0;
  for (const { key, value } of compare) bytes += 50 + (key?.length ?? 0) + (value?.length ?? 0);
  for (const branch of [success, failure]) {
    for (const { request_put, request_range, request_delete_range, request_txn } of branch) {
      const key = (request_put ?? request_range ?? request_delete_range)?.key;
      bytes += 50 + (key?.length ?? 0) + (request_put?.value?.length ?? 0);
      if (request_txn) bytes += bytesOf(request_txn);
    }
  }
  return bytes;
}
