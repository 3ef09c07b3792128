import type { IRequestOp, ITxnRequest, ITxnResponse } from '../../../etcd/client.ts';
import { EtcdRefusedError, LeaseGoneError } from '../../../etcd/client.ts';
import { maxTxnOps } from './txn.ts';

/** Sends one Txn and gives up after `timeoutMs`; rejects as EtcdClient says. */
export type Transact = (request: ITxnRequest, timeoutMs: number) => Promise<ITxnResponse>;

/** A part of some Txn's work that can share a round trip with others. */
export interface BatchRequest {
  readonly txn: ITxnRequest;
  /** The names of the locks and the keys of the records that it reads or writes. */
  readonly touches: readonly string[];
  /** It only reads. */
  readonly isLook?: boolean;
  /** The lease that what it writes hangs on, or the permanent session in place of one. */
  readonly lease?: string;
  /** It is part of work that frees space, so it has to get through when etcd has none left. */
  readonly freesSpace?: boolean;
}

/** How long a request waits, at the most, for the Txn before it to be answered. */
const patienceMs = 100;

/** Below etcd's limit of 1.5 MiB for a request (--max-request-bytes). */
const maxBatchBytes = 1_000_000;

/**
 * Group commit. While one Txn is under way, the requests that come meanwhile collect, and go out
 * together as the nested Txns of the next one. A request that comes alone goes out alone, at once.
 *
 * In one batch no key may be written twice, and all comparisons are made before any write; so two
 * requests that touch the same name never share one, unless both only look. A lease that is gone fails the whole batch,
 * so it never has two of them. Whatever is written in one batch has one revision.
 *
 * etcd refuses what puts keys when its database is full (its NOSPACE alarm), but does not count puts
 * in nested Txns. So that a full database is full for all alike, and not for those that go alone,
 * each batch says so in a branch that never runs; and what frees space goes nested without it.
 */
export class EtcdBatches {
  readonly #transact: Transact;
  readonly #timeoutMs: number;
  #waiting: Member[] = [];
  #underWay = 0;
  #impatience: NodeJS.Timeout | undefined;

  /** `timeoutMs` is how long a request may take, from the call on. */
  constructor(transact: Transact, timeoutMs: number) {
    this.#transact = transact;
    this.#timeoutMs = timeoutMs;
  }

  /**
   * Rejects as a Txn of its own would: after any error that is neither a LeaseGoneError nor an
   * EtcdRefusedError it is unknown whether the request was carried out.
   */
  send(request: BatchRequest): Promise<ITxnResponse> {
    const answer = Promise.withResolvers<ITxnResponse>();
    this.#waiting.push({ ...request, answer, askedAt: performance.now() });
    if (this.#underWay === 0) this.#sendNext();
    else this.#impatience ??= setTimeout(this.#sendTheImpatient, patienceMs);
    return answer.promise;
  }

  #sendNext(): void {
    const batch = this.#takeBatch();
    if (batch.length === 0) return;
    this.#underWay += 1;
    void this.#exchange(batch).then(() => {
      // When all who were answered have gone on: what they ask next belongs together.
      process.nextTick(() => {
        this.#underWay -= 1;
        if (this.#underWay === 0) this.#sendNext();
      });
    });
  }

  /** Nobody waits long behind a Txn that is not answered, or behind others for the same name. */
  #sendTheImpatient = () => {
    this.#impatience = undefined;
    const [first] = this.#waiting;
    if (!first) return;
    const leftMs = first.askedAt + patienceMs - performance.now();
    if (leftMs > 1) this.#impatience = setTimeout(this.#sendTheImpatient, leftMs);
    else while (this.#waiting.length > 0) this.#sendNext();
  };

  /** The first that waits, and all behind it that can go with it. Nobody overtakes for a name. */
  #takeBatch(): Member[] {
    if (this.#waiting.length <= 1) return this.#waiting.splice(0);
    const batch: Member[] = [];
    const left: Member[] = [];
    /** The names taken by the batch or by those left behind, and whether they are only looked at. */
    const touched = new Map<string, boolean>();
    let largest = 0;
    let bytes = 0;
    let lease: string | undefined;
    for (const member of this.#waiting) {
      const { touches, isLook = false } = member;
      const isApart = touches.every((name) => !touched.has(name) || (isLook && touched.get(name)));
      const largestThen = Math.max(largest, opsOf(member.txn));
      const bytesThen = bytes + bytesOf(member.txn);
      const fits = batch.length + 1 + largestThen <= maxTxnOps && bytesThen <= maxBatchBytes;
      const agrees = !lease || !member.lease || lease === member.lease;
      const goes = batch.length === 0 || (isApart && fits && agrees);
      for (const name of touches) touched.set(name, goes && isLook);
      if (goes) {
        batch.push(member);
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
      if (others.length === 0 && !first.freesSpace) {
        first.answer.resolve(await this.#transact(first.txn, timeoutMs));
        return;
      }
      const success = batch.map(({ txn }) => ({ request_txn: txn }));
      const failure = batch.flatMap(countedPuts).slice(0, 1);
      const answer = await this.#transact({ compare: [], success, failure }, timeoutMs);
      for (const [index, member] of batch.entries()) {
        const own = answer.responses[index]?.response_txn;
        if (own) member.answer.resolve({ ...own, header: answer.header });
        else member.answer.reject(new TypeError('etcd left a part of a Txn unanswered'));
      }
    } catch (error) {
      await this.#fail(batch, error);
    }
  }

  /** An error that proves that nothing was written concerns only some members: the others go again. */
  async #fail(batch: readonly Member[], error: unknown): Promise<void> {
    if (batch.length > 1 && error instanceof LeaseGoneError) {
      for (const { lease, answer } of batch) if (lease !== undefined) answer.reject(error);
      await this.#exchange(batch.filter(({ lease }) => lease === undefined));
    } else if (batch.length > 1 && error instanceof EtcdRefusedError) {
      await Promise.all(batch.map((member) => this.#exchange([member])));
    } else {
      for (const { answer } of batch) answer.reject(error);
    }
  }
}

interface Member extends BatchRequest {
  readonly answer: PromiseWithResolvers<ITxnResponse>;
  readonly askedAt: number;
}

/** Those that etcd shall refuse when it is full. */
function countedPuts({ txn, freesSpace }: BatchRequest): IRequestOp[] {
  if (freesSpace) return [];
  return [...(txn.success ?? []), ...(txn.failure ?? [])].filter((op) => op.request_put);
}

/** As etcd counts them: the longest list, and what is nested goes on top of what holds it. */
function opsOf({ compare = [], success = [], failure = [] }: ITxnRequest): number {
  let nested = 0;
  for (const branch of [success, failure]) {
    for (const { request_txn } of branch) {
      if (request_txn) nested = Math.max(nested, opsOf(request_txn));
    }
  }
  return Math.max(compare.length, success.length, failure.length) + nested;
}

/** About how many bytes a Txn takes; exact where it matters, for long keys and values. */
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
