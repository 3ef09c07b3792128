import { changesAfter } from '../../../lib/lock/stores/kept-state.ts';
import type { ApiObject } from '../../../lib/lock/stores/kubernetes/api.ts';
import type { Place } from '../../../lib/lock/stores/kubernetes/place.ts';
import type { StoredState } from '../../../lib/lock/stores/kubernetes/stored-state.ts';
import { firstState, parseState } from '../../../lib/lock/stores/kubernetes/stored-state.ts';
import type { StoreChange } from '../../../lib/lock/stores/ticket-store.ts';
import { happeningsOf } from '../locks/change-happenings.ts';
import type { WorldParts } from '../locks/simulated-world.ts';
import type { AskedRemovals } from './asked-removals.ts';
import { SessionClients } from './session-clients.ts';
import type { Write } from './simulated-api-server.ts';
import { WriteMarks } from './write-marks.ts';

/** Clocks differ by 1 %, so another host may end a session so much before its TTL has passed. */
const clockError = 0.98;

export interface RecordedWritesOptions extends Pick<WorldParts, 'record' | 'mark' | 'scheduler'> {
  readonly place: Place;
  readonly asked: AskedRemovals;
}

interface Step {
  readonly writer: string;
  readonly marks: WriteMarks;
}

/** Records what each write of the API server means, in its order. */
export class RecordedWrites {
  readonly #options: RecordedWritesOptions;
  /** The numbers of the tickets that stand, by nonce, and the sessions of all. */
  readonly #standing = new Map<string, number>();
  readonly #sessions = new Map<string, string>();
  readonly #clients = new SessionClients();
  /** The earliest time at which a session may end without a word of its client. */
  readonly #expiries = new Map<string, number>();
  readonly #marks = new Map<string, WriteMarks>();
  #state: StoredState | undefined;

  constructor(options: RecordedWritesOptions) {
    this.#options = options;
  }

  /** Returns the marks of the write that made a version of the object with the locks. */
  marksOf(resourceVersion: string): WriteMarks | undefined {
    return this.#marks.get(resourceVersion);
  }

  wrote({ path, type, object, writer }: Write): void {
    const { place, mark } = this.#options;
    if (path !== place.path) {
      if (type !== 'DELETED') this.#renewed(object);
      return;
    }
    const { resourceVersion } = object.metadata;
    const text = place.textIn(object);
    const state = text === undefined ? firstState(resourceVersion) : parseState(text, place.path);
    const before = this.#state ?? state;
    this.#state = state;
    const marks = new WriteMarks(mark);
    this.#marks.set(resourceVersion, marks);
    this.#judge({ writer, marks }, before, state);
  }

  #judge({ writer, marks }: Step, before: StoredState, after: StoredState): void {
    const { record } = this.#options;
    for (const takeover of this.#clients.took(writer, after.incarnations)) record(takeover);
    const changes = changesAfter(after, before.revision);
    if (!changes)
      record({ kind: 'bug', message: 'the object does not hold the changes of a write' });
    for (const change of changes ?? []) {
      marks.change(change, () => this.#change(writer, change));
    }
  }

  #change(writer: string, change: StoreChange): void {
    const { record, asked, scheduler } = this.#options;
    for (const { nonce, session } of change.tickets) this.#sessions.set(nonce, session);
    const sessionOf = (nonce: string) => {
      const session = this.#sessions.get(nonce) ?? '';
      const isOverdue = (this.#expiries.get(session) ?? Number.POSITIVE_INFINITY) <= scheduler.now;
      return { session, isOverdue };
    };
    for (const message of this.#clients.objections(writer, change, sessionOf)) {
      record({ kind: 'bug', message });
    }
    const happenings = happeningsOf(change, {
      standing: this.#standing,
      numberOf: ({ token }) => token,
      causeOf: ({ nonce }) => asked.causeOf(nonce, this.#sessions.get(nonce) ?? ''),
    });
    for (const happening of happenings) record(happening);
  }

  #renewed(lease: ApiObject): void {
    const { spec } = lease as ApiObject & { spec: { readonly leaseDurationSeconds: number } };
    const { place, scheduler, record } = this.#options;
    const session = lease.metadata.name.slice(place.name.length + 1);
    const ttlMs = spec.leaseDurationSeconds * 1_000 * clockError;
    this.#expiries.set(session, scheduler.now + ttlMs);
    record({ kind: 'renewed', session, ttlMs });
  }
}
