import { setTimeout as pause } from 'node:timers/promises';
import createDebug from 'debug';
import { messageOf } from '../../../running/message-of.ts';
import type { Condition } from '../../condition.ts';
import { GuardLostError } from '../../errors.ts';
import { ChangeFeed } from '../change-feed.ts';
import type { TicketModel } from '../ticket-model.ts';
import type { StoreWatcher, TicketStore } from '../ticket-store.ts';
import { podAccount } from './account.ts';
import type { ApiServerOptions } from './api-server.ts';
import { ApiServer } from './api-server.ts';
import { DeadSessions } from './dead-sessions.ts';
import { Leases } from './leases.ts';
import { annotationPlace, configMapPlace } from './place.ts';
import { Sessions } from './sessions.ts';
import { StateObject } from './state-object.ts';
import { Steps } from './steps.ts';

const log = createDebug('berth:kubernetes');

/** The pause before a broken watch is started again. */
const retryMs = 200;

/** The share of the space from which on `health` warns. */
const fillToWarn = 0.7;

export interface KubernetesStoreOptions extends Partial<ApiServerOptions> {
  /** The name of the ConfigMap with the locks, and of their Leases: a DNS label of at most 26 letters. */
  readonly name: string;
  /** The namespace; that of the pod by default. */
  readonly namespace?: string;
  /**
   * The path of an object in the API, such as `/api/v1/namespaces/shop/services/web`: the locks are
   * kept in an annotation of it, and not in a ConfigMap. It must exist, and may be no Deployment.
   */
  readonly resource?: string;
}

/**
 * Keeps tickets in Kubernetes, for the programs of a cluster that have nothing but its API server.
 * Without `server`, it uses the account of the pod.
 *
 *     ConfigMap NAME        the whole state; replaced only as the version that was read
 *     Lease NAME-<session>  one for each session, renewed by its client
 *
 * Each step is one replacement of the object, and all steps that wait share one; so there is one
 * order of all changes, and no clock decides. The object holds some thousand tickets (1 MiB; an
 * annotation 192 KiB); what does not fit is refused with `StoreRefusedError`.
 *
 * An API server whose etcd was put back to an earlier state is noticed by programs that have seen a later
 * one, which then refuse, and by no others: stop all holders before.
 */
export function kubernetesStore(options: KubernetesStoreOptions): TicketStore {
  const { name } = options;
  if (!/^[a-z0-9]([a-z0-9-]{0,24}[a-z0-9])?$/.test(name)) {
    throw new RangeError(`${name} is no name for a store: use at most 26 of a-z, 0-9 and "-"`);
  }
  const account = options.server === undefined ? podAccount() : undefined;
  const namespace = options.namespace ?? account?.namespace ?? 'default';
  const api = new ApiServer({ server: '', ...account, ...options });
  const { resource } = options;
  const place =
    resource === undefined ? configMapPlace(namespace, name) : annotationPlace(resource);
  const object = new StateObject(api, place);
  const steps = new Steps(object);
  const leases = new Leases(api, namespace, name);
  const dead = new DeadSessions(leases, steps, object);
  const sessions = new Sessions(leases, steps, dead);
  const feed = new ChangeFeed(object, () => true);
  const closing = new AbortController();
  let isFollowing = false;

  const follow = async () => {
    if (isFollowing) return;
    isFollowing = true;
    void dead.run(closing.signal);
    while (!closing.signal.aborted) {
      await object.follow(closing.signal).catch((error: unknown) => log('watch broke: %s', error));
      await pause(retryMs, undefined, { ref: false, signal: closing.signal }).catch(() => {});
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
