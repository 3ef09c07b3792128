import createDebug from 'debug';
import { messageOf } from '../../../running/message-of.ts';
import type { Condition } from '../../condition.ts';
import { GuardLostError } from '../../errors.ts';
import { ChangeFeed } from '../change-feed.ts';
import type { TicketModel } from '../ticket-model.ts';
import type { StoreWatcher, TicketStore } from '../ticket-store.ts';
import type { Api } from './api.ts';
import { DeadSessions } from './dead-sessions.ts';
import { Leases } from './leases.ts';
import type { Place } from './place.ts';
import { Sessions } from './sessions.ts';
import { StateObject } from './state-object.ts';
import { Steps } from './steps.ts';
import type { Surroundings } from './surroundings.ts';

const log = createDebug('berth:kubernetes');

/** The pause before a broken watch is started again. */
const retryMs = 200;

/** The share of the space from which on `health` warns. */
const fillToWarn = 0.7;

export interface ObjectStoreParts {
  readonly api: Api;
  readonly place: Place;
  /** The namespace of the Leases, and the name of the store, with which theirs begin. */
  readonly namespace: string;
  readonly name: string;
  readonly surroundings: Surroundings;
}

/** Returns the store on an API server; store.ts has its options. Disposing it disposes the API server's client. */
export function storeOn(parts: ObjectStoreParts): TicketStore {
  const { api, place, surroundings } = parts;
  const object = new StateObject(api, place, surroundings);
  const steps = new Steps(object, surroundings);
  const leases = new Leases(api, surroundings, parts);
  const dead = new DeadSessions(leases, steps, object, surroundings);
  const sessions = new Sessions(leases, steps, dead, surroundings);
  // The object reports each change and each break by itself.
  const feed = new ChangeFeed(object);
  const closing = new AbortController();
  let isFollowing = false;

  const follow = async () => {
    if (isFollowing) return;
    isFollowing = true;
    void dead.run(closing.signal);
    while (!closing.signal.aborted) {
      await object.follow(closing.signal).catch((error: unknown) => log('watch broke: %s', error));
      await surroundings.idle(retryMs, closing.signal);
    }
  };
  const take = <T>(step: (model: TicketModel) => T) => steps.take(({ model }) => step(model));

  return {
    name: 'kubernetes',
    properties: {
      sessionsExpire: true,
      sessionsResume: true,
      multiProcess: true,
      multiHost: true,
    },
    openSession: (request) => {
      void follow();
      return sessions.open(request);
    },
    renewSession: async (id) => {
      object.throwIfPutBack();
      return sessions.renew(id);
    },
    closeSession: (id) => sessions.close(id),
    sessionAlive: (id) => sessions.isAlive(id),
    enqueue: (request) =>
      steps.take((draft) => {
        sessions.requireOwn(request.session, draft);
        return draft.model.enqueue(request);
      }),
    tryEnqueue: (request) =>
      steps.take((draft) => {
        sessions.requireOwn(request.session, draft);
        return draft.model.tryEnqueue(request);
      }),
    place: (ticket) =>
      steps.take((draft) =>
        sessions.isTaken(ticket.session, draft) ? { state: 'gone' } : draft.model.place(ticket),
      ),
    stands: (ticket) =>
      steps.take((draft) => !sessions.isTaken(ticket.session, draft) && draft.model.stands(ticket)),
    remove: (ticket, claim, note) =>
      steps.take((draft) => {
        if (!sessions.isTaken(ticket.session, draft)) draft.model.remove(ticket, claim, note);
      }),
    commit: (change) =>
      steps.take((draft) => {
        const tickets = [...change.guards, ...change.release];
        const other = tickets.find(({ session }) => sessions.isTaken(session, draft));
        if (other) throw new GuardLostError(`ticket ${other.token} is another process's now`);
        return draft.model.commit(change);
      }),
    tickets: (lockName) => take((model) => model.tickets(lockName)),
    record: (key) => take((model) => model.record(key)),
    records: (prefix) => take((model) => model.records(prefix)),
    closeGate: (gate) => take((model) => model.closeGate(gate)),
    openGate: (lockName) => take((model) => model.openGate(lockName)),
    gates: () => take((model) => model.gates()),
    health: async () => {
      try {
        await take(() => {});
        return fullness(object.fill, place.path);
      } catch (error) {
        return [{ severity: 'error', message: messageOf(error) }];
      }
    },
    watch: (watcher: StoreWatcher) => {
      if (closing.signal.aborted) return { [Symbol.dispose]: () => {} };
      void follow();
      let isEnded = false;
      let following: Disposable | undefined;
      // The state that is known may be older than an answer that the caller has.
      void object
        .read()
        .catch((error: unknown) => log('the state was not read: %s', error))
        .then(() => {
          if (!isEnded) following = feed.follow(watcher);
        });
      return {
        [Symbol.dispose]: () => {
          isEnded = true;
          following?.[Symbol.dispose]();
        },
      };
    },
    [Symbol.asyncDispose]: async () => {
      if (closing.signal.aborted) return;
      closing.abort();
      feed[Symbol.dispose]();
      await steps.close();
      api[Symbol.dispose]();
    },
  };
}

function fullness(fill: number, path: string): Condition[] {
  if (fill < fillToWarn) return [];
  const percent = Math.round(fill * 100);
  const message = `the locks in ${path} use ${percent} % of what the object can hold; more requests will be refused`;
  return [{ severity: 'warning', message }];
}
