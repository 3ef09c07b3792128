import type { Clock } from '../../../running/clock.ts';
import { systemClock } from '../../../running/clock.ts';
import { GuardLostError, SessionGoneError, StoreUnavailableError } from '../../errors.ts';
import type { StoreWatcher, TicketStore } from '../ticket-store.ts';
import { MemoryState } from './state.ts';

export interface MemoryStoreOptions {
  /** The clock of the store's own state; a shared state has its own clock. */
  readonly clock?: Clock;
  /** The state that several clients share, each like a host of its own; private when left out. */
  readonly shared?: MemoryState;
}

/** Creates a state that several clients share. */
export function memoryState(clock: Clock = systemClock()): MemoryState {
  return new MemoryState(clock);
}

/**
 * Keeps tickets in this process, for tests and for a single process that needs the same interface.
 * The memory store is the reference that other stores are compared with. It uses no randomness and
 * no time but the clock's. A crash loses everything.
 */
export function memoryStore({ clock, shared }: MemoryStoreOptions = {}): TicketStore {
  const state = shared ?? memoryState(clock);
  const watches = new Set<Disposable>();
  let isClosed = false;

  /** Runs `take` in a later microtask, as no real store answers within the call. */
  const step = async <T>(take: () => T): Promise<T> => {
    await Promise.resolve();
    if (isClosed) throw new StoreUnavailableError('the memory store is closed');
    return take();
  };

  /** The sessions of this client, each with its incarnation. */
  const own = new Map<string, number | undefined>();
  const isTaken = (session: string) => {
    const now = state.incarnation(session);
    return now !== undefined && own.has(session) && own.get(session) !== now;
  };
  const requireOwn = (session: string) => {
    if (isTaken(session)) throw new SessionGoneError(`another process has resumed ${session}`);
  };

  const watch = (watcher: StoreWatcher): Disposable => {
    let isEnded = isClosed;
    const deliver = (event: () => void) => queueMicrotask(() => isEnded || event());
    const follow = (change: Parameters<StoreWatcher['change']>[0]) =>
      deliver(() => watcher.change(change));
    const end: Disposable = {
      [Symbol.dispose]: () => {
        isEnded = true;
        state.unwatch(follow);
        watches.delete(end);
      },
    };
    if (isEnded) return end;
    watches.add(end);
    const now = state.watch(follow);
    deliver(() => watcher.reset(now));
    return end;
  };

  return {
    name: 'memory',
    properties: {
      sessionsExpire: true,
      sessionsResume: true,
      multiProcess: false,
      multiHost: false,
    },
    openSession: (request) =>
      step(() => {
        const opened = state.openSession(request);
        own.set(opened.id, state.incarnation(opened.id));
        return opened;
      }),
    renewSession: (id) =>
      step(() => {
        requireOwn(id);
        return state.renewSession(id);
      }),
    closeSession: (id) => step(() => isTaken(id) || state.closeSession(id)).then(() => {}),
    sessionAlive: (id) => step(() => state.sessionAlive(id)),
    enqueue: (request) =>
      step(() => {
        requireOwn(request.session);
        return state.enqueue(request);
      }),
    tryEnqueue: (request) =>
      step(() => {
        requireOwn(request.session);
        return state.tryEnqueue(request);
      }),
    place: (ticket) =>
      step(() => (isTaken(ticket.session) ? { state: 'gone' } : state.place(ticket))),
    stands: (ticket) => step(() => !isTaken(ticket.session) && state.stands(ticket)),
    remove: (ticket, claim, note) =>
      step(() => {
        if (!isTaken(ticket.session)) state.remove(ticket, claim, note);
      }),
    commit: (change) =>
      step(() => {
        const taken = [...change.guards, ...change.release].find(({ session }) => isTaken(session));
        if (taken) throw new GuardLostError(`ticket ${taken.token} is another process's now`);
        return state.commit(change);
      }),
    tickets: (lockName) => step(() => state.tickets(lockName)),
    record: (key) => step(() => state.record(key)),
    records: (prefix) => step(() => state.records(prefix)),
    closeGate: (gate) => step(() => state.closeGate(gate)),
    openGate: (lockName) => step(() => state.openGate(lockName)),
    gates: () => step(() => state.gates()),
    health: async () =>
      isClosed ? [{ severity: 'error', message: 'the memory store is closed' }] : [],
    watch,
    showsAllOn: () => true,
    [Symbol.asyncDispose]: async () => {
      isClosed = true;
      for (const end of [...watches]) end[Symbol.dispose]();
    },
  };
}
