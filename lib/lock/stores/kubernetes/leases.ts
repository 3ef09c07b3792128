import type { Api, ApiObject } from './api.ts';
import { hasStatus } from './api-errors.ts';
import type { Surroundings } from './surroundings.ts';

interface LeaseObject extends ApiObject {
  readonly spec: {
    readonly holderIdentity?: string;
    readonly leaseDurationSeconds?: number;
  };
}

/** A Lease as one look found it. */
export interface Lease {
  readonly session: string;
  readonly incarnation: string;
  readonly ttlMs: number;
  readonly uid: string;
  readonly resourceVersion: string;
}

/** Another client has resumed the session. */
export const taken = Symbol('taken');

/**
 * The Lease objects of one store: one for each session, with the TTL and the incarnation. The API
 * server deletes none of them: clients do, when one was not renewed for its TTL (dead-sessions.ts).
 */
export class Leases {
  readonly #api: Api;
  readonly #newId: Surroundings['newId'];
  readonly #store: string;
  readonly #list: string;

  constructor(
    api: Api,
    { newId }: Pick<Surroundings, 'newId'>,
    { namespace, name: store }: { readonly namespace: string; readonly name: string },
  ) {
    this.#api = api;
    this.#newId = newId;
    this.#store = store;
    this.#list = `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`;
  }

  async make(session: string, incarnation: string, ttlSeconds: number): Promise<void> {
    const body = {
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: {
        name: this.#nameOf(session),
        labels: { 'berth.io/store': this.#store },
        annotations: { 'berth.io/renewal': this.#newId() },
      },
      spec: {
        holderIdentity: incarnation,
        leaseDurationSeconds: ttlSeconds,
        renewTime: microTime(),
      },
    };
    await this.#api.call('POST', this.#list, { body });
  }

  /**
   * Renews a session, and makes it the client's of `becomes` if that is given. `incarnation`: only
   * while it is the session's. Resolves to the TTL; to undefined if there is no such Lease any more.
   */
  async renew(
    session: string,
    incarnation: string | undefined,
    becomes = incarnation,
  ): Promise<number | typeof taken | undefined> {
    // The value is another one each time: a patch that changes nothing makes no new version.
    const renewal = {
      op: 'replace',
      path: '/metadata/annotations/berth.io~1renewal',
      value: this.#newId(),
    };
    const body = [
      ...(incarnation === undefined
        ? []
        : [{ op: 'test', path: '/spec/holderIdentity', value: incarnation }]),
      ...(becomes === undefined
        ? []
        : [{ op: 'replace', path: '/spec/holderIdentity', value: becomes }]),
      { op: 'replace', path: '/spec/renewTime', value: microTime() },
      renewal,
    ];
    try {
      const lease = await this.#api.call<LeaseObject>('PATCH', this.#pathOf(session), {
        patch: 'json',
        body,
      });
      return toLease(lease, this.#store)?.ttlMs;
    } catch (error) {
      if (hasStatus(error, 404)) return undefined;
      if (hasStatus(error, 422)) return taken;
      throw error;
    }
  }

  async find(session: string): Promise<Lease | undefined> {
    try {
      const lease = await this.#api.call<LeaseObject>('GET', this.#pathOf(session));
      return toLease(lease, this.#store);
    } catch (error) {
      if (hasStatus(error, 404)) return undefined;
      throw error;
    }
  }

  /** Returns all Leases of the store, as of a moment after the call. */
  async all(): Promise<Lease[]> {
    const query = new URLSearchParams({ labelSelector: `berth.io/store=${this.#store}` });
    const { items } = await this.#api.call<{ items: LeaseObject[] }>(
      'GET',
      `${this.#list}?${query}`,
    );
    return items.map((item) => toLease(item, this.#store)).filter((lease) => lease !== undefined);
  }

  /** Deletes a Lease if it is still that version; false if it was renewed meanwhile. */
  async remove({ session, uid, resourceVersion }: Lease): Promise<boolean> {
    const body = {
      apiVersion: 'v1',
      kind: 'DeleteOptions',
      preconditions: { uid, resourceVersion },
    };
    try {
      await this.#api.call('DELETE', this.#pathOf(session), { body });
      return true;
    } catch (error) {
      if (hasStatus(error, 404)) return true;
      if (hasStatus(error, 409)) return false;
      throw error;
    }
  }

  #nameOf(session: string): string {
    return `${this.#store}-${session}`;
  }

  #pathOf(session: string): string {
    return `${this.#list}/${this.#nameOf(session)}`;
  }
}

function toLease({ metadata, spec }: LeaseObject, store: string): Lease | undefined {
  const { holderIdentity, leaseDurationSeconds } = spec;
  if (holderIdentity === undefined || leaseDurationSeconds === undefined) return undefined;
  return {
    session: metadata.name.slice(store.length + 1),
    incarnation: holderIdentity,
    ttlMs: leaseDurationSeconds * 1000,
    uid: metadata.uid,
    resourceVersion: metadata.resourceVersion,
  };
}

/** The time in the form of a Lease, for people: nothing compares it. */
function microTime(): string {
  return new Date().toISOString().replace('Z', '000Z');
}
