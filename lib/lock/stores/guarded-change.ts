import { GuardLostError, RecordConflictError } from '../errors.ts';
import type { Ticket } from '../ticket.ts';
import type { GuardedChange, StoredRecord } from './ticket-store.ts';

/** The look-ups that a store offers, within its atomic step, to judge a change. */
export interface StoreView {
  exists(ticket: Ticket): boolean;
  record(key: string): StoredRecord | undefined;
}

/** `made`: an earlier call has made the change, at `revision` if a record still shows it. */
export type Judgement =
  | { readonly state: 'allowed' }
  | { readonly state: 'made'; readonly revision: number | undefined }
  | { readonly state: 'refused'; readonly error: GuardLostError | RecordConflictError };

/** Decides whether `change` may be applied to the state that `view` shows. Pure. */
export function judgeChange(change: GuardedChange, view: StoreView): Judgement {
  const error = objectionTo(change, view);
  if (error === undefined) return { state: 'allowed' };
  return made(change, view) ?? { state: 'refused', error };
}

function objectionTo(
  { guards, release, writes }: GuardedChange,
  view: StoreView,
): GuardLostError | RecordConflictError | undefined {
  const lost = [...guards, ...release].find((ticket) => !view.exists(ticket));
  if (lost !== undefined) return new GuardLostError(`ticket ${lost.token} no longer exists`);
  for (const { key, expectedRevision } of writes) {
    if (expectedRevision === undefined) continue;
    if ((view.record(key)?.revision ?? 0) !== expectedRevision) return new RecordConflictError(key);
  }
  return undefined;
}

/** Values are unique to their write, so finding all of them proves the earlier call. */
function made({ release, writes }: GuardedChange, view: StoreView): Judgement | undefined {
  if (writes.length + release.length === 0) return undefined;
  if (release.some((ticket) => view.exists(ticket))) return undefined;
  let revision: number | undefined;
  for (const { key, value } of writes) {
    const record = view.record(key);
    if (record?.value !== value) return undefined;
    revision ??= record?.revision;
  }
  return { state: 'made', revision };
}
