import type { Clock } from '../../../running/clock.ts';
import { systemClock } from '../../../running/clock.ts';
import { StoreUnavailableError } from '../../errors.ts';
import type { StoreWatcher, TicketStore } from '../ticket-store.ts';
import { MemoryState } from './state.ts';

export interface MemoryStoreOptions {
  /** For a state of its own; the clients of a shared state have that state's clock. */
  readonly clock?: Clock;
  /** What several clients share, each as if it were another host; its own when left out. */
  readonly shared?: MemoryState;
}

/** What the clients of one memory store share. */
export function memoryState(clock: Clock = systemClock()): MemoryState {
  return new MemoryState(clock);
}

/**
 * Tickets in this process, for tests and for a single process that wants the same interface. It is
 * the plainest statement of what the port means, so other stores are compared with it. It uses no
 * randomness and no time but the clock's. A crash loses everything.
 */
export function memoryStore({ clock, shared }: MemoryStoreOptions = {}): TicketStore {
  const state = shared ?? memoryState(clock);
  const watches = new Set<Disposable>();
  let isClosed = false;

  /** Runs `take` no earlier than a round trip could: after the caller has gone on. */
  const step = async <T>(take: () => T): Promise<T> => {
    await Promise.resolve();
    if (isClosed) throw new StoreUnavailableError('the memory store is closed');
    return take();
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
    openSession: (request) => step(() => state.openSession(request)),
    renewSession: (id) => step(() => state.renewSession(id)),
    closeSession: (id) => step(() => state.closeSession(id)),
    sessionAlive: (id) => step(() => state.sessionAlive(id)),
    enqueue: (request) => step(() => state.enqueue(request)),
    tryEnqueue: (request) => step(() => state.tryEnqueue(request)),
    place: (ticket) => step(() => state.place(ticket)),
    stands: (ticket) => step(() => state.stands(ticket)),
    remove: (ticket) => step(() => state.remove(ticket)),
    commit: (change) => step(() => state.commit(change)),
    tickets: (lockName) => step(() => state.tickets(lockName)),
    record: (key) => step(() => state.record(key)),
    closeGate: (gate) => step(() => state.closeGate(gate)),
    openGate: (lockName) => step(() => state.openGate(lockName)),
    gates: () => step(() => state.gates()),
    health: async () =>
      isClosed ? [{ severity: 'error', message: 'the memory store is closed' }] : [],
    watch,
    [Symbol.asyncDispose]: async () => {
      isClosed = true;
      for (const end of [...watches]) end[Symbol.dispose]();
    },
  };
}
