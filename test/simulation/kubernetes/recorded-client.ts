import type {
  Disabled,
  Placement,
  Refused,
  TicketStore,
} from '../../../lib/lock/stores/ticket-store.ts';
import type { Ticket, TicketRequest } from '../../../lib/lock/ticket.ts';
import type { Mark } from '../locks/recording.ts';
import type { WorldParts } from '../locks/simulated-world.ts';
import type { AskedRemovals } from './asked-removals.ts';
import type { WriteMarks } from './write-marks.ts';

export interface RecordedClientOptions {
  readonly host: string;
  readonly record: WorldParts['record'];
  readonly asked: AskedRemovals;
  /** Returns the step of the API server on which the last answer rests. */
  readonly lastStep: () => WriteMarks | undefined;
}

/**
 * Records the answers of one client's store. The client decides them from a version of the object, so each
 * is recorded at the place of that version in the history.
 */
export function recordedClient(
  store: TicketStore,
  { host, record, asked, lastStep }: RecordedClientOptions,
): TicketStore {
  const noted = (
    method: 'enqueue' | 'tryEnqueue' | 'place' | 'stands',
    { holder }: TicketRequest,
    answer: Placement | Refused | Disabled,
  ) => {
    const blockers = 'blockers' in answer ? answer.blockers.map(({ token }) => token) : [];
    const token = 'ticket' in answer ? answer.ticket.token : undefined;
    const request = holder.detail ?? '';
    const what = { host, request, token, answer: answer.state, blockers };
    const step = lastStep();
    record({ kind: 'answered', method, ...what }, step && placeOf(answer, step));
  };
  const answered = <T extends Placement | Refused | Disabled>(
    method: 'enqueue' | 'tryEnqueue' | 'place',
    request: TicketRequest | Ticket,
    answer: T,
  ): T => {
    noted(method, request, answer);
    return answer;
  };
  return {
    ...store,
    openSession: async (request) => {
      const opened = await store.openSession(request);
      // The API server records the others, by their Leases.
      if (opened.ttlMs === Number.POSITIVE_INFINITY) {
        record({ kind: 'opened', session: opened.id, ttlMs: opened.ttlMs });
      }
      return opened;
    },
    closeSession: (id) => {
      asked.session(host, id);
      return store.closeSession(id);
    },
    enqueue: async (request) => answered('enqueue', request, await store.enqueue(request)),
    tryEnqueue: async (request) => answered('tryEnqueue', request, await store.tryEnqueue(request)),
    place: async (ticket) => answered('place', ticket, await store.place(ticket)),
    stands: async (ticket) => {
      const stands = await store.stands(ticket);
      noted('stands', ticket, stands ? { state: 'granted', ticket } : { state: 'gone' });
      return stands;
    },
    remove: (ticket, claim, note) => {
      asked.ticket('remove', host, ticket);
      return store.remove(ticket, claim, note);
    },
    commit: (change) => {
      for (const ticket of change.release) asked.ticket('commit', host, ticket);
      return store.commit(change);
    },
  };
}

/** Returns the place of an answer in the step on which it rests. */
function placeOf(answer: Placement | Refused | Disabled, step: WriteMarks): Mark {
  if (answer.state === 'granted') return step.ofGrant(answer.ticket);
  return answer.state === 'waiting' ? step.ofRevision(answer.revision) : step.last;
}
