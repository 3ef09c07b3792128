import type { Mutation, MutationList } from '../mutation.ts';
import { historyMutations } from './history-mutations.ts';

const engine = (file: string) => `lib/lock/${file}`;
const races = 'test/contract/locks/races.test.ts';
const proof = 'test/unit/lib/lock/engine/mirror-proof.test.ts';
const outliving = 'test/contract/locks/permanent.test.ts';
const store = (file: string) => `lib/lock/stores/${file}`;

const mutations: readonly Mutation[] = [
  {
    promise: 'exclusion: a writer waits for readers',
    file: store('ticket-model.ts'),
    from: 'ticket.token < below && conflicts(lock.mode, other.mode)',
    to: "ticket.token < below && other.mode === 'exclusive'",
  },
  {
    promise: 'exclusion: no more permits than there are',
    file: store('ticket-model.ts'),
    from: 'if (permits.length < lock.permits) continue;',
    to: 'if (permits.length <= lock.permits) continue;',
  },
  {
    promise: 'exclusion: an exclusive request waits for permits, and a permit for it',
    file: 'lib/lock/conflicts.ts',
    from: "return a === 'exclusive' || a !== b;",
    to: "return a !== 'permit' && b !== 'permit' && (a === 'exclusive' || a !== b);",
  },
  {
    promise: 'first come: a waiter for a permit is woken by each that is in its way',
    file: store('ticket-model.ts'),
    from: 'permits.slice(-lock.permits)',
    to: 'permits.slice(-1)',
  },
  {
    promise: 'exclusion: the store decides whether a waiter is granted',
    file: engine('engine/acquirer.ts'),
    from: ': await limit.untilAnswered(() => this.#options.store.place(ticket));',
    to: ": { state: 'granted', ticket };",
  },
  {
    promise: 'exclusion: the mirror proves a grant only when nothing is in the way',
    file: engine('engine/store-mirror.ts'),
    from: 'return inTheWayOf(lock, earlier).length === 0;',
    to: 'return earlier.length < 2 || inTheWayOf(lock, earlier).length === 0;',
  },
  {
    promise: 'exclusion: the mirror proves a grant only of a ticket that stands',
    file: engine('engine/store-mirror.ts'),
    from: 'if (this.#tickets.get(ticket.nonce)?.token !== ticket.token) return false;',
    to: '',
    test: proof,
  },
  {
    promise: 'gate: the mirror proves no grant of a disabled lock',
    file: engine('engine/store-mirror.ts'),
    from: 'if (this.#gates.has(lock.name)) return false;',
    to: '',
    test: proof,
  },
  {
    promise: 'effect exclusion: the store checks the guards',
    file: store('guarded-change.ts'),
    from: '[...guards, ...release].find(',
    to: '[...release].find(',
  },
  {
    promise: 'effect exclusion: a guarded write carries its ticket',
    file: engine('engine/held-locks.ts'),
    from: 'guards: [ticket], writes',
    to: 'guards: [], writes',
  },
  {
    promise: 'token order: tokens grow',
    file: store('ticket-model.ts'),
    from: '{ ...request, id, token: revision }',
    to: '{ ...request, id, token: (revision * 7919) % 10007 }',
  },
  {
    promise: 'honest holder: the deadline counts from the sending of the renewal',
    file: engine('engine/session.ts'),
    from: 'Math.max(this.#deadline, sentAt + ttlMs - marginMs(ttlMs))',
    to: 'Math.max(this.#deadline, this.#clock.now() + ttlMs - marginMs(ttlMs))',
  },
  {
    promise: 'honest holder: the deadline is earlier than the expiry',
    file: engine('engine/session.ts'),
    from: 'Math.min(2_000, ttlMs / 5)',
    to: '0',
  },
  {
    promise: 'honest holder: a check reads the clock and does not rely on timers',
    file: engine('engine/held-lock.ts'),
    from: 'this.#session.checkDeadline();',
    to: '',
  },
  {
    promise: 'honest holder: the signal aborts by itself',
    file: engine('engine/session.ts'),
    from: 'void this.#watchDeadline(session);',
    to: '',
  },
  {
    promise: 'honest holder: a broken lock is noticed',
    file: engine('engine/held-lock.ts'),
    from: 'if (this.#isReleasing) return;',
    to: 'return;',
  },
  {
    promise: 'free after a crash: sessions expire',
    file: store('memory/state.ts'),
    from: 'if (expiresAt <= now) this.#dropSession(id)',
    to: 'if (expiresAt + 2_000 <= now) this.#dropSession(id)',
  },
  {
    promise: 'outlives its host: a permanent session never expires',
    file: store('memory/state.ts'),
    from: 'this.#addSession(id, ttlMs);\n      return { id, ttlMs, resumed: true };',
    to: 'this.#addSession(id, 5_000);\n      return { id, ttlMs, resumed: true };',
  },
  {
    promise: 'outlives its host: tickets of a crashed process are found, also unused ones',
    file: engine('engine/session-pool.ts'),
    from: 'if (this.#permanent?.id === id) return this.#permanent.keeper;',
    to: '',
  },
  {
    promise: 'outlives its host: it stands until its owner has attached what it wants',
    file: engine('engine/own-tickets.ts'),
    from: 'permanent: true };',
    to: 'permanent: false };',
    test: outliving,
  },
  {
    promise: 'outlives its host: no deadline ends such a lock',
    file: engine('engine/session-pool.ts'),
    from: 'const ttlMs = Number.POSITIVE_INFINITY;',
    to: 'const { ttlMs } = options;',
    test: outliving,
  },
  {
    promise: 'outlives its host: a kept lock is proved again after a lapse',
    file: engine('engine/session-pool.ts'),
    from: ') void this.#reopen();',
    to: ') return;',
    test: outliving,
  },
  {
    promise: 'all or nothing: a ticket is in the queue of each of its locks',
    file: store('ticket-model.ts'),
    from: 'for (const lock of ticket.locks) {',
    to: 'for (const lock of ticket.locks.slice(0, 1)) {',
  },
  {
    promise: 'nothing leaks: the ticket of a failed request is removed',
    file: engine('engine/acquirer.ts'),
    from: 'else await this.#options.tickets.remove(request);',
    to: 'else this.#options.tickets.forget(request);',
  },
  {
    promise: 'nothing leaks: the ticket of a lock that lapsed is removed',
    file: engine('engine/held-locks.ts'),
    from: 'else await tickets.remove(ticket);',
    to: '',
  },
  {
    promise: 'nothing leaks: a ticket that arrives late is removed',
    file: engine('engine/own-tickets.ts'),
    from: "if (event.kind === 'change') this.#noticeStrays(event.change.tickets);",
    to: "if (event.kind === 'change') return;",
  },
  {
    promise: 'nothing leaks: a ticket that arrives during its removal is removed',
    file: engine('engine/own-tickets.ts'),
    from: 'if (left) this.#noticeStrays([left]);',
    to: '',
    test: races,
  },
  {
    promise: 'honest holder: a lock that was broken before its grant arrived is not handed over',
    file: engine('engine/held-locks.ts'),
    from: '    this.#noticeLoss(ticket.nonce);',
    to: '',
    test: races,
  },
  {
    promise: 'honest holder: a ticket that was given up is not attached',
    file: engine('engine/own-tickets.ts'),
    from: ' && !reclaim.isGivenUp;',
    to: ';',
    test: races,
  },
  {
    promise: 'honest holder: a dropped session is not revived',
    file: engine('engine/session.ts'),
    from: 'if (session.isGone) return; // It was dropped during the renewal.',
    to: '',
    test: races,
  },
  {
    promise: 'first come: a try does not overtake waiters',
    file: store('ticket-model.ts'),
    from: 'written?.token ?? Number.POSITIVE_INFINITY',
    to: 'written?.token ?? 1 + Math.min(...this.#tickets.values().map(({ token }) => token))',
  },
  {
    promise: 'no lost wake-up: a removal wakes its waiters',
    file: engine('engine/wake-ups.ts'),
    from: 'for (const { nonce } of event.change.removedTickets) this.#wake(nonce);',
    to: '',
  },
  {
    promise: 'no lost wake-up: a blocker that was removed before the wait began counts',
    file: engine('engine/wake-ups.ts'),
    from: 'if (isSeen && nonces.some((nonce) => !this.#mirror.ticket(nonce))) return true;',
    to: '',
  },
  {
    promise: 'no herd: only waiters that may have become free are woken',
    file: engine('engine/wake-ups.ts'),
    from: 'for (const { nonce } of event.change.removedTickets) this.#wake(nonce);',
    to: 'for (const sleeper of [...this.#sleepers.keys()]) this.#wake(sleeper);',
  },
  {
    promise: 'cancelled: a cancelled request never holds',
    file: engine('engine/acquirer.ts'),
    from: 'if (limit.isCancelled) throw limit.error(namesOf(locks), []);\n      if (historyId',
    to: 'if (historyId',
  },
  {
    promise: 'cancelled: no listener is left',
    file: engine('engine/wait-limit.ts'),
    from: 'for (const caller of this.#callers) caller.removeEventListener',
    to: 'for (const caller of [] as AbortSignal[]) caller.removeEventListener',
  },
  {
    promise: 'cancelled: no sleeper is left',
    file: engine('engine/wait-limit.ts'),
    from: 'this.#over.abort(over);',
    to: '',
  },
  {
    promise: 'unlock: the ticket is removed even after an outage of the store',
    file: engine('engine/own-tickets.ts'),
    from: 'const removal = this.#removeUntilGone(ticket, claim, note);',
    to: 'const removal = Promise.resolve();',
  },
  {
    promise: "unlock: it never removes another's ticket",
    file: store('ticket-model.ts'),
    from: "const isThere = ticket && (!('token' in target) || target.token === ticket.token);",
    to: 'const isThere = ticket !== undefined;',
    test: 'test/contract/stores/memory/store.test.ts',
  },
  {
    promise: 'note: a repeated removal never writes it again',
    file: store('ticket-model.ts'),
    from: 'else this.#removeTickets([], removedRecords);',
    to: 'else this.#removeTickets([], removedRecords, note && [note]);',
    test: 'test/contract/stores/memory/store.test.ts',
  },
  {
    promise: 'claim: the step that releases the ticket deletes it',
    file: store('ticket-model.ts'),
    from: 'claim !== undefined && this.#records.delete(claim) ? [claim] : [];',
    to: '[];',
    test: 'test/contract/stores/memory/store.test.ts',
  },
  {
    promise: 'gate: nobody is granted a disabled lock',
    file: store('ticket-model.ts'),
    from: 'return this.#disabled(ticket.locks) ?? this.#placement(ticket);',
    to: 'return this.#placement(ticket);',
  },
  {
    promise: 'errors: a disabled lock is not reported as lost',
    file: engine('engine/acquirer.ts'),
    from: "if (placement.state === 'disabled') throw new LockDisabledError(placement.gates);\n    throw",
    to: 'throw',
  },
  {
    promise: 'errors: a time-out is not reported as cancelled',
    file: engine('engine/wait-limit.ts'),
    from: 'if (this.isCancelled) {',
    to: 'if (this.isOver) {',
  },
  {
    promise: 'longest hold: the hold ends by itself',
    file: engine('engine/held-locks.ts'),
    from: '.then(() => lock.end())',
    to: '',
  },
];

/** Texts in the lock engine, and in the reference store. */
export const lockMutations: MutationList = {
  mutations: [...mutations, ...historyMutations],
  simulation: 'test/simulation/locks/simulation.test.ts',
  test: 'keeps its promises',
};
