import type {
  ApiObject,
  Call,
  Method,
  WatchEvent,
} from '../../../lib/lock/stores/kubernetes/api.ts';
import { explainAnswer } from '../../../lib/lock/stores/kubernetes/api-errors.ts';
import type { JsonObject } from './patches.ts';
import { applyOperations, mergePatch, PatchTestError } from './patches.ts';

/** An object of the API server. It is never changed, only replaced. */
export type StoredObject = ApiObject & JsonObject;

export interface Write {
  /** The client that has written. */
  readonly writer: string;
  readonly path: string;
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly object: StoredObject;
}

interface Kept extends Write {
  readonly version: number;
}

export interface Subscription {
  readonly onEvent: (event: WatchEvent) => void;
}

/** How many events the server keeps for watches that begin again. */
const eventsKept = 60;

/** The Status that ends a watch which begins too far back. */
const tooOld = { code: 410, metadata: { name: '', uid: '', resourceVersion: '0' } };

/**
 * An API server of Kubernetes, as far as lib/lock/stores/kubernetes uses it, by the API conventions: one
 * `resourceVersion` for all objects, which grows with each write; reads that show the last write; a merge
 * patch that names a version is refused with 409 if the object has another; JSON patches whose `test` fails
 * are refused with 422; a DELETE with preconditions is refused with 409; a patch that changes nothing makes
 * no version; a watch gives all events after a version, or the event ERROR (410) if that is too old.
 */
export class SimulatedApiServer {
  readonly #onWrite: (write: Write) => void;
  readonly #objects = new Map<string, StoredObject>();
  readonly #events: Kept[] = [];
  readonly #subscriptions = new Map<Subscription, string>();
  #version = 1;
  #uids = 0;

  constructor(onWrite: (write: Write) => void) {
    this.#onWrite = onWrite;
  }

  object(path: string): StoredObject | undefined {
    return this.#objects.get(path);
  }

  /** Takes one call. Throws what `ApiServer` throws for such an answer. */
  call(writer: string, method: Method, path: string, call: Call = {}): unknown {
    const [place = '', query = ''] = path.split('?');
    switch (method) {
      case 'GET':
        return query === '' ? this.#found(method, place) : this.#list(place, query);
      case 'POST':
        return this.#create(writer, place, call.body as JsonObject);
      case 'PATCH':
        return this.#patch(writer, place, call);
      case 'DELETE':
        return this.#remove(writer, place, call.body as JsonObject);
    }
  }

  /** Begins a watch of one object: gives the events after a version, and then each one as it happens. */
  follow(path: string, onEvent: Subscription['onEvent']): Disposable {
    const [list = '', query = ''] = path.split('?');
    const parameters = new URLSearchParams(query);
    const name = parameters.get('fieldSelector')?.replace('metadata.name=', '');
    const after = Number(parameters.get('resourceVersion'));
    const watched = `${list}/${name}`;
    const oldest = this.#events[0]?.version ?? 0;
    if (this.#events.length === eventsKept && after < oldest - 1) {
      onEvent({ type: 'ERROR', object: tooOld });
      return { [Symbol.dispose]: () => {} };
    }
    for (const { version, path: written, type, object } of this.#events) {
      if (version > after && written === watched) onEvent({ type, object });
    }
    const subscription = { onEvent };
    this.#subscriptions.set(subscription, watched);
    return { [Symbol.dispose]: () => this.#subscriptions.delete(subscription) };
  }

  #list(place: string, query: string): { readonly items: StoredObject[] } {
    const [label = '', value] = (new URLSearchParams(query).get('labelSelector') ?? '').split('=');
    const items = [...this.#objects].filter(([path, { metadata }]) => {
      const { labels = {} } = metadata as { readonly labels?: Readonly<Record<string, string>> };
      return path.startsWith(`${place}/`) && labels[label] === value;
    });
    return { items: items.map(([, object]) => object) };
  }

  #create(writer: string, list: string, body: JsonObject): StoredObject {
    const { name } = body.metadata as { readonly name: string };
    const path = `${list}/${name}`;
    if (this.#objects.has(path)) throw refused(409, 'POST', path, 'it exists');
    this.#uids += 1;
    return this.#write(writer, 'ADDED', path, body, `uid-${this.#uids}`);
  }

  #patch(writer: string, path: string, { body, patch }: Call): StoredObject {
    const before = this.#found('PATCH', path);
    const { resourceVersion, uid } = before.metadata;
    let after: JsonObject;
    if (patch === 'merge') {
      const named = (body as { readonly metadata?: { readonly resourceVersion?: string } }).metadata
        ?.resourceVersion;
      if (named !== undefined && named !== resourceVersion) {
        throw refused(409, 'PATCH', path, 'the object has been modified');
      }
      after = mergePatch(before, body) as JsonObject;
    } else {
      try {
        after = applyOperations(before, body);
      } catch (error) {
        if (error instanceof PatchTestError) throw refused(422, 'PATCH', path, error.message);
        throw error;
      }
    }
    if (JSON.stringify(after) === JSON.stringify(before)) return before;
    return this.#write(writer, 'MODIFIED', path, after, uid);
  }

  #remove(writer: string, path: string, body: JsonObject): StoredObject {
    const object = this.#found('DELETE', path);
    const { uid, resourceVersion } = (body?.preconditions ?? {}) as Partial<ApiObject['metadata']>;
    const { metadata } = object;
    const isOther =
      (uid !== undefined && uid !== metadata.uid) ||
      (resourceVersion !== undefined && resourceVersion !== metadata.resourceVersion);
    if (isOther) throw refused(409, 'DELETE', path, 'a precondition failed');
    return this.#write(writer, 'DELETED', path, object, metadata.uid);
  }

  #found(method: Method, path: string): StoredObject {
    const object = this.#objects.get(path);
    if (!object) throw refused(404, method, path, 'not found');
    return object;
  }

  #write(
    writer: string,
    type: Write['type'],
    path: string,
    body: JsonObject,
    uid: string,
  ): StoredObject {
    this.#version += 1;
    const resourceVersion = `${this.#version}`;
    const metadata = { ...(body.metadata as object), uid, resourceVersion };
    const object = { ...body, metadata } as StoredObject;
    if (type === 'DELETED') this.#objects.delete(path);
    else this.#objects.set(path, object);
    this.#events.push({ version: this.#version, writer, path, type, object });
    if (this.#events.length > eventsKept) this.#events.shift();
    this.#onWrite({ writer, path, type, object });
    for (const [{ onEvent }, watched] of this.#subscriptions) {
      if (watched === path) onEvent({ type, object });
    }
    return object;
  }
}

function refused(status: number, method: Method, path: string, why: string): Error {
  const text = JSON.stringify({ message: why });
  return explainAnswer(status, text, { server: 'simulated', what: `${method} ${path}` });
}
