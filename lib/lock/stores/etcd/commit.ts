import type { ICompare, IKeyValue, IRequestOp } from '../../../etcd/client.ts';
import { GuardLostError, StoreUnavailableError } from '../../errors.ts';
import { judgeChange } from '../guarded-change.ts';
import type { GuardedChange, RecordWrite } from '../ticket-store.ts';
import { touchesOf } from '../touches.ts';
import type { BatchRequest } from './batches.ts';
import type { EtcdKeys } from './keys.ts';
import type { EtcdSessions } from './sessions.ts';
import { hasToken } from './txn.ts';

/** Returns the Txn of a change; if refused, it reads what `revisionOfRepeat` needs. */
export function commitRequest(
  change: GuardedChange,
  keys: EtcdKeys,
  sessions: Pick<EtcdSessions, 'guards' | 'looks'>,
): BatchRequest {
  const guards = [...new Set([...change.guards, ...change.release])];
  const guardKeys = guards.flatMap((ticket) => keys.ticketKeys(ticket));
  const ids = guards.map(({ session }) => session);
  const txn = {
    compare: [
      ...sessions.guards(ids),
      ...guards.flatMap((ticket) =>
        keys.ticketKeys(ticket).map((key) => hasToken(key, ticket.token)),
      ),
      ...change.writes.flatMap((write) => expectation(write, keys)),
    ],
    success: [
      ...change.writes.map((write) => recordOp(write, keys)),
      ...change.release.flatMap((ticket) =>
        keys.ticketKeys(ticket).map((key) => ({ request_delete_range: { key } })),
      ),
    ],
    failure: [
      ...change.writes.map(({ key }) => ({ request_range: { key: keys.recordKey(key) } })),
      ...guardKeys.map((key) => ({ request_range: { key, keys_only: true } })),
      ...sessions.looks(ids),
    ],
  };
  const { reads, writes } = touchesOf(guards, { written: change.writes.map(({ key }) => key) });
  return { txn, touches: writes, reads };
}

/**
 * Explains a refused change from `found`, the state that refused it at revision `now`: throws the reason, or returns
 * the revision if an earlier call has made this same change.
 */
export function revisionOfRepeat(
  change: GuardedChange,
  keys: EtcdKeys,
  sessions: Pick<EtcdSessions, 'isTaken'>,
  { found, now }: { readonly found: readonly IKeyValue[]; readonly now: number },
): number {
  const taken = [...change.guards, ...change.release].find(({ session }) =>
    sessions.isTaken(session, found),
  );
  if (taken) throw new GuardLostError(`ticket ${taken.token} is another process's now`);
  const byKey = new Map(found.map((kv) => [kv.key.toString(), kv]));
  const judgement = judgeChange(change, {
    exists: (ticket) =>
      keys.ticketKeys(ticket).every((key) => {
        return Number(byKey.get(key.toString())?.create_revision) === ticket.token;
      }),
    record: (key) => {
      const kv = byKey.get(keys.recordKey(key).toString());
      return kv && keys.parseRecord(kv);
    },
  });
  if (judgement.state === 'refused') throw judgement.error;
  if (judgement.state === 'made') return judgement.revision ?? now;
  throw new StoreUnavailableError('etcd refused a change that its own answer allows');
}

function expectation({ key, expectedRevision }: RecordWrite, keys: EtcdKeys): ICompare[] {
  if (expectedRevision === undefined) return [];
  const stored = keys.recordKey(key);
  return [{ target: 'Mod', result: 'Equal', key: stored, mod_revision: expectedRevision }];
}

function recordOp({ key, value }: RecordWrite, keys: EtcdKeys): IRequestOp {
  const stored = keys.recordKey(key);
  return value === undefined
    ? { request_delete_range: { key: stored } }
    : { request_put: { key: stored, value: Buffer.from(value) } };
}
