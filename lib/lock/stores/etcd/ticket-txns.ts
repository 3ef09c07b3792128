import type {
  ICompare,
  IKeyValue,
  IRangeRequest,
  IRequestOp,
  ITxnRequest,
  ITxnResponse,
} from '../../../etcd/client.ts';
import { EtcdRefusedError, LeaseGoneError } from '../../../etcd/client.ts';
import type { TicketRequest } from '../../ticket.ts';
import { namesOf } from '../../ticket.ts';
import { lockTouch, touchesOf } from '../touches.ts';
import type { EtcdBatches, Requirement } from './batches.ts';
import type { EtcdSessions } from './sessions.ts';
import type { EtcdSlots } from './slots.ts';
import { foundIn, maxTxnOps } from './txn.ts';

/** Sends the Txns of requests for tickets (queue.ts), each for the session of its request. */
export class TicketTxns {
  readonly #batches: EtcdBatches;
  readonly #slots: EtcdSlots;
  readonly #sessions: EtcdSessions;

  constructor(batches: EtcdBatches, slots: EtcdSlots, sessions: EtcdSessions) {
    this.#batches = batches;
    this.#slots = slots;
    this.#sessions = sessions;
  }

  /** Compares that no other process has resumed the request's session, if the Txn has room for it. */
  isOurs(request: TicketRequest): ICompare[] {
    return hasRoom(request) ? this.#sessions.guards([request.session]) : [];
  }

  lookAtSession(request: TicketRequest): IRequestOp[] {
    return hasRoom(request) ? this.#sessions.looks([request.session]) : [];
  }

  /** Sends a Txn that only reads. */
  look({ locks }: TicketRequest, txn: ITxnRequest): Promise<ITxnResponse> {
    return this.#batches.send({ txn, touches: [], reads: namesOf(locks).map(lockTouch) });
  }

  /**
   * Sends a Txn that writes a ticket if the store may grant it (`isOpen`) and the session is this process's. If its outcome stays unknown, the slot is in doubt.
   */
  async write(
    request: TicketRequest,
    txn: ITxnRequest,
    isOpen: readonly Requirement[],
  ): Promise<{ succeeded: boolean; revision: number; found: IKeyValue[] }> {
    const { mark, claim, read, readBelow, freesSpace = false } = request;
    const written = [mark, claim?.key].filter((key) => key !== undefined);
    const wanted = [read, readBelow].filter((key) => key !== undefined);
    const { reads, writes: touches } = touchesOf([request], { read: wanted, written });
    const lease = request.session;
    const isOurs = hasRoom(request) ? this.#sessions.requirements(lease) : [];
    const requires = [...isOpen, ...isOurs];
    try {
      const sent = { txn, requires, touches, reads, lease, freesSpace };
      const answer = await this.#batches.send(sent);
      const found = foundIn(answer.responses);
      if (!answer.succeeded) this.#sessions.requireOwn(request.session, found);
      const revision = Number(answer.header.revision);
      return { succeeded: answer.succeeded, revision, found };
    } catch (error) {
      const isUnwritten = error instanceof LeaseGoneError || error instanceof EtcdRefusedError;
      if (isUnwritten) this.#slots.free(request);
      else this.#slots.doubt(request);
      throw error;
    }
  }

  /** Reads, in one step, more ranges than one branch of a Txn can hold. */
  async readAtOnce(request: TicketRequest, ranges: readonly IRangeRequest[]): Promise<IKeyValue[]> {
    const half = Math.ceil(ranges.length / 2);
    const halves = [ranges.slice(0, half), ranges.slice(half)].map((part) => ({
      compare: [],
      success: part.map((range) => ({ request_range: range })),
      failure: [],
    }));
    const success = halves.map((txn) => ({ request_txn: txn }));
    const answer = await this.look(request, { compare: [], success, failure: [] });
    return foundIn(answer.responses);
  }
}

/** True if two more operations fit into each Txn of the request. */
export function hasRoom({ locks }: TicketRequest): boolean {
  return 2 * locks.length < maxTxnOps;
}
