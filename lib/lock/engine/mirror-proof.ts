import type { TicketStore } from '../stores/ticket-store.ts';
import type { Ticket } from '../ticket.ts';
import type { StoreMirror } from './store-mirror.ts';

/**
 * True if the mirror proves that a waiting ticket is granted, so that nobody need ask the store at a hand-over.
 * `historyId`: of the history in which the ticket was queued, read before the step that queued it.
 *
 * A ticket waits for lower ones only, and those only disappear. So if it stood at some revision of its history, with
 * nothing in its way and the gates of its locks open, the store granted it there, and its lock is held until the ticket
 * is removed. The mirror is the whole state at such a revision. This is the same as `place` at that revision, with
 * an answer that comes late: what may happen meanwhile, may happen to each holder. Its session's deadline and
 * the mirror tell it so.
 *
 * - The store has to say that it reports everything on these locks (`showsAllOn`), or a ticket could be missing.
 * - In another history, which begins with a quarantine, the ticket was not granted. The step that queued it found no
 *   quarantine, and none begins later in the same history.
 * - A request with a proof is granted only in the quarantine: the store decides.
 * - A session that another process can resume (`canBeResumed`) may be that one's by now, and its tickets gone: the mirror
 *   does not show whose a session is.
 */
export function isProvedByMirror(
  { proof, canBeResumed }: { readonly proof: number | undefined; readonly canBeResumed: boolean },
  ticket: Ticket,
  historyId: string | undefined,
  { store, mirror }: { readonly store: TicketStore; readonly mirror: StoreMirror },
): boolean {
  if (proof !== undefined || canBeResumed || !mirror.isLive) return false;
  if (historyId !== store.historyId || historyId !== mirror.history?.id) return false;
  return ticket.locks.every(({ name }) => store.showsAllOn?.(name)) && mirror.isFirst(ticket);
}
