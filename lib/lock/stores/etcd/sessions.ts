import { randomUUID } from 'node:crypto';
import type { EtcdClient, ICompare, IKeyValue, IRequestOp } from '../../../etcd/client.ts';
import { LeaseGoneError } from '../../../etcd/client.ts';
import { isPermanent, permanentSessionOf } from '../../permanent-session.ts';
import type { OpenSession, SessionRequest } from '../ticket-store.ts';
import type { Requirement } from './batches.ts';
import type { EtcdKeys } from './keys.ts';
import { notAfter } from './txn.ts';

/** The value that this process has written into the record of a session. */
interface Incarnation {
  /** The key of the record. */
  readonly key: Buffer;
  readonly nonce: string;
  /** The revision of that write. */
  readonly revision: number;
}

/** The record of a session that is being closed: nobody resumes it any more. */
const closed = 'closed';

/**
 * The sessions of one process. A session is a lease with a record below it: the **incarnation**, a value that the
 * process writes that opens or resumes the session. A process that was frozen while a later one has resumed its session
 * finds another value: its renewals find the session gone, and no Txn of it does anything, because each compares
 * that the record was not written after its own write.
 *
 *     open    lease, record          resume   keep-alive, record (not of a session that is being closed)
 *     renew   keep-alive and record  close    record "closed", if it is still ours, then revoke
 *
 * A crash in between leaves a lease without a use, which expires. A session whose record is missing was opened by a
 * release before 0.1.0, or is permanent and was not used yet: it is nobody else's.
 *
 * Rejects as the client; LeaseGoneError for a session that has ended or is another process's now.
 */
export class EtcdSessions {
  readonly #client: EtcdClient;
  readonly #keys: EtcdKeys;
  readonly #own = new Map<string, Incarnation>();

  constructor(client: EtcdClient, keys: EtcdKeys) {
    this.#client = client;
    this.#keys = keys;
  }

  async open({ ttlMs, owner, resume }: SessionRequest): Promise<OpenSession> {
    if (ttlMs === Number.POSITIVE_INFINITY) {
      const id = permanentSessionOf(owner);
      await this.#begin(id);
      return { id, ttlMs, resumed: true };
    }
    const resumedMs = resume === undefined ? undefined : await this.#resume(resume);
    if (resume !== undefined && resumedMs !== undefined) {
      return { id: resume, ttlMs: resumedMs, resumed: true };
    }
    const { id, ttlSeconds } = await this.#client.leaseGrant(Math.ceil(ttlMs / 1000));
    await this.#begin(id);
    return { id, ttlMs: ttlSeconds * 1000, resumed: false };
  }

  async renew(id: string): Promise<number> {
    const own = this.#own.get(id);
    // The order does not matter: both are true at some time after the call.
    const [ttlSeconds, record] = await Promise.all([
      this.#client.leaseKeepAlive(id),
      own && this.#read(id),
    ]);
    if (own && record && record.value.toString() !== own.nonce) throw takenError(id);
    // In another history of etcd, the same write may have another revision.
    if (own && record) this.#own.set(id, { ...own, revision: Number(record.mod_revision) });
    return ttlSeconds * 1000;
  }

  /** Ends a session. Resolves without any effect if it is another process's now. */
  async close(id: string): Promise<void> {
    if (this.#own.has(id)) {
      const mine = this.guards([id]);
      const success = [nested(this.#put(id, closed))];
      const { succeeded } = await this.#client.txn({ compare: mine, success, failure: [] });
      this.#own.delete(id);
      if (!succeeded) return;
    }
    await this.#client.leaseRevoke(id);
  }

  /** Compares that those of the sessions that are this process's were not resumed by another. */
  guards(ids: readonly string[]): ICompare[] {
    return [...new Set(ids)].flatMap((id) => {
      const own = this.#own.get(id);
      return own ? [notAfter(own.key, own.revision)] : [];
    });
  }

  /** Requires the same as `guards`; reads what `requireOwn` needs. */
  requirements(id: string): Requirement[] {
    const own = this.#own.get(id);
    if (!own) return [];
    const { key, revision } = own;
    const look = { request_range: { key, keys_only: true } };
    return [{ name: `session ${id} ${revision}`, compare: notAfter(key, revision), look }];
  }

  /** Reads what `guards` compares, for `isTaken`. */
  looks(ids: readonly string[]): IRequestOp[] {
    const own = [...new Set(ids)].filter((id) => this.#own.has(id));
    return own.map((id) => ({
      request_range: { key: this.#keys.sessionKey(id), keys_only: true },
    }));
  }

  /** True if `found`, the result of `looks`, shows that another process has resumed the session. */
  isTaken(id: string, found: readonly IKeyValue[]): boolean {
    const own = this.#own.get(id);
    const key = this.#keys.sessionKey(id);
    const record = found.find((kv) => kv.key.equals(key));
    return own !== undefined && record !== undefined && Number(record.mod_revision) > own.revision;
  }

  /** Throws LeaseGoneError if `found` shows that another process has resumed the session. */
  requireOwn(id: string, found: readonly IKeyValue[]): void {
    if (this.isTaken(id, found)) throw takenError(id);
  }

  /** Resolves to the TTL; to undefined if the session has ended or is being closed. */
  async #resume(id: string): Promise<number | undefined> {
    try {
      const ttlSeconds = await this.#client.leaseKeepAlive(id);
      return (await this.#begin(id)) ? ttlSeconds * 1000 : undefined;
    } catch (error) {
      if (error instanceof LeaseGoneError) return undefined;
      throw error;
    }
  }

  /** Makes the session this process's. False: it is being closed. */
  async #begin(id: string): Promise<boolean> {
    const nonce = randomUUID();
    const key = this.#keys.sessionKey(id);
    const isClosed = { target: 'Value', result: 'Equal', key, value: Buffer.from(closed) } as const;
    const { succeeded, header } = await this.#client.txn({
      compare: [isClosed],
      success: [],
      // Nested: a full etcd refuses other puts, but what is mounted must still be unmounted.
      failure: [nested(this.#put(id, nonce))],
    });
    if (!succeeded) this.#own.set(id, { key, nonce, revision: Number(header.revision) });
    return !succeeded;
  }

  #put(id: string, value: string): IRequestOp {
    const lease = isPermanent(id) ? {} : { lease: id };
    const key = this.#keys.sessionKey(id);
    return { request_put: { key, value: Buffer.from(value), ...lease } };
  }

  async #read(id: string): Promise<IKeyValue | undefined> {
    const { kvs } = await this.#client.range({ key: this.#keys.sessionKey(id) });
    return kvs[0];
  }
}

function nested(op: IRequestOp): IRequestOp {
  return { request_txn: { compare: [], success: [op], failure: [] } };
}

function takenError(id: string): LeaseGoneError {
  return new LeaseGoneError(`another process has resumed session ${id}`);
}
