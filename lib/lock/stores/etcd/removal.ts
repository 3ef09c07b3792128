import type { ICompare } from '../../../etcd/client.ts';
import type { Ticket, TicketRequest } from '../../ticket.ts';
import type { RecordNote } from '../ticket-store.ts';
import { touchesOf } from '../touches.ts';
import type { BatchRequest, Requirement } from './batches.ts';
import type { EtcdKeys } from './keys.ts';
import { ticketValue } from './keys.ts';
import { hasToken } from './txn.ts';

export interface Removal {
  readonly ticket: Ticket | TicketRequest;
  /** The ID of the ticket, or the one that the request would have had. */
  readonly id: string;
  /** Requires that the session is still this process's, if it ever was. */
  readonly requires: readonly Requirement[];
  /** The key of a record that goes with the ticket. */
  readonly claim?: string | undefined;
  /** A record that is written if the ticket still stands. */
  readonly note?: RecordNote | undefined;
}

/** Returns the Txn that removes a ticket, as far as its keys are still its own. */
export function removalRequest(removal: Removal, keys: EtcdKeys): BatchRequest {
  const { ticket, id, requires, claim, note } = removal;
  const still: (key: Buffer) => ICompare =
    'token' in ticket
      ? (key) => hasToken(key, ticket.token)
      : (key) => ({ target: 'Value', result: 'Equal', key, value: ticketValue(ticket) });
  const noted = note && { key: keys.recordKey(note.key), value: Buffer.from(note.value) };
  const removals = keys.ticketKeys({ id, locks: ticket.locks }).map((key, index) => ({
    compare: [still(key)],
    success: [
      { request_delete_range: { key } },
      ...(noted && index === 0 ? [{ request_put: noted }] : []),
    ],
    failure: [],
  }));
  const claims = claim === undefined ? [] : [{ key: keys.recordKey(claim) }];
  const [only] = removals;
  // One nested Txn per key, so that a missing key does not keep the others.
  const success = [
    ...removals.map((each) => ({ request_txn: each })),
    ...claims.map((range) => ({ request_delete_range: range })),
  ];
  const isOne = success.length === 1 && only !== undefined;
  const txn = isOne ? only : { compare: [], success, failure: [] };
  const written = [claim, note?.key].filter((key) => key !== undefined);
  const { reads, writes } = touchesOf([ticket], { written });
  return { txn, requires, touches: writes, reads };
}
