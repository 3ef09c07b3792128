import { StoreRefusedError } from '../../errors.ts';
import type { ChangeSource } from '../change-feed.ts';
import { changesAfter } from '../kept-state.ts';
import type { StoreChange, StoreState } from '../ticket-store.ts';
import type { Api, ApiObject } from './api.ts';
import { hasStatus } from './api-errors.ts';
import type { Place } from './place.ts';
import type { StoredState } from './stored-state.ts';
import { firstState, parseState, stateText } from './stored-state.ts';
import type { Surroundings } from './surroundings.ts';

/** The watch is begun again after this time, at the latest `graceSeconds` later. */
const watchSeconds = 30;
const graceSeconds = 2;

/** One version of the object, as the API server has given it. */
export interface Version {
  readonly resourceVersion: string;
  readonly state: StoredState;
}

/** The state does not fit into the object. Nothing was written. */
export class TooLargeError extends StoreRefusedError {}

/**
 * The object that holds the whole state. It is replaced only if it is still the version that the new
 * state was made from, so all changes of all clients are in one order. The last version that was
 * seen is kept; `follow` keeps it up to date.
 */
export class StateObject implements ChangeSource {
  readonly #api: Api;
  readonly #place: Place;
  readonly #time: Surroundings;
  #known: Version | undefined;
  #isFollowed = false;
  #versions = 0;
  /** Called when a version is adopted. */
  readonly #waiting = new Set<() => void>();
  #refusal: StoreRefusedError | undefined;
  onChange: () => void = () => {};

  constructor(api: Api, place: Place, time: Surroundings) {
    this.#api = api;
    this.#place = place;
    this.#time = time;
  }

  get known(): Version | undefined {
    return this.#known;
  }

  /** Resolves to a version that the watch reports after `old`; to undefined if there is none in time. */
  async later(old: Version, limitMs: number): Promise<Version | undefined> {
    const news = new AbortController();
    const wake = () => news.abort();
    this.#waiting.add(wake);
    if (this.#known === old) await this.#time.sleep(limitMs, news.signal);
    this.#waiting.delete(wake);
    return this.#known === old ? undefined : this.#known;
  }

  /** Throws if the object was put back to an earlier state: what this program holds may be granted to another. */
  throwIfPutBack(): void {
    if (this.#refusal) throw this.#refusal;
  }

  /** Reads the last version; makes the object if there is none. */
  async read(): Promise<Version> {
    this.throwIfPutBack();
    const before = this.#known;
    try {
      const object = await this.#api.call<ApiObject>('GET', this.#place.path);
      // The answer to a read is never older than what was known before: the server has lost writes.
      if (before && isOlder(object.metadata.resourceVersion, before.resourceVersion)) {
        throw this.#putBack();
      }
      return this.#adopt(object);
    } catch (error) {
      const fresh = this.#place.fresh();
      if (!hasStatus(error, 404)) throw error;
      if (!fresh) throw new StoreRefusedError(`${this.#place.path} does not exist; create it`);
      return this.#make(fresh);
    }
  }

  /** Writes `state` if `before` is still the last version; resolves to false if it is not. */
  async replace(before: Version, state: StoredState): Promise<boolean> {
    const text = this.#fitting(state);
    const fields = this.#place.fields(text);
    const { resourceVersion } = before;
    const body = { ...fields, metadata: { ...fields.metadata, resourceVersion } };
    try {
      this.#adopt(await this.#api.call('PATCH', this.#place.path, { patch: 'merge', body }));
      return true;
    } catch (error) {
      if (hasStatus(error, 409)) return false;
      if (hasStatus(error, 404)) return false;
      throw error;
    }
  }

  /** Follows the object until the server ends the watch or the signal aborts. */
  async follow(signal: AbortSignal): Promise<void> {
    try {
      await this.#follow(signal);
    } catch (error) {
      this.#isFollowed = false;
      this.onChange(); // The watchers learn that it is broken.
      throw error;
    }
  }

  /** After a watch that the server ends in time, the next one begins with what was missed: nothing is broken. */
  async #follow(signal: AbortSignal): Promise<void> {
    const { resourceVersion } = await this.read();
    this.#isFollowed = true;
    this.onChange();
    const { list, name } = this.#place;
    const query = new URLSearchParams({
      watch: 'true',
      fieldSelector: `metadata.name=${name}`,
      resourceVersion,
      timeoutSeconds: `${watchSeconds}`,
    });
    // A connection that was lost without a sign reports nothing, also not its end.
    const ended = new AbortController();
    void this.#time
      .idle((watchSeconds + graceSeconds) * 1_000, ended.signal)
      .then(() => ended.abort());
    try {
      await this.#api.watch(
        `${list}?${query}`,
        ({ type, object }) => {
          if (type === 'ADDED' || type === 'MODIFIED') this.#adopt(object);
          else if (type !== 'BOOKMARK') throw new Error(`the watch has ended: ${type}`);
        },
        AbortSignal.any([signal, ended.signal]),
      );
    } finally {
      ended.abort();
    }
  }

  /** The share of the space that is used, from 0 to 1, without the changes: they give way. */
  get fill(): number {
    const known = this.#known;
    if (!known) return 0;
    const text = stateText({ ...known.state, changes: [] });
    return Buffer.byteLength(text) / this.#place.limitBytes;
  }

  /** Says that others change the object all the time. */
  get busy(): string {
    return `${this.#place.path} is changed by others faster than by this program; use several stores`;
  }

  dataVersion(): number {
    this.#followed();
    return this.#versions;
  }

  state(): StoreState {
    const { revision, tickets, records, gates } = this.#followed().state;
    return { revision, tickets, records, gates };
  }

  changesAfter(revision: number): readonly StoreChange[] | undefined {
    return changesAfter(this.#followed().state, revision);
  }

  /** Returns the last version; throws while the watch is broken, so that watchers learn of it. */
  #followed(): Version {
    if (!this.#isFollowed || !this.#known) throw new Error('the watch is broken');
    return this.#known;
  }

  async #make(fresh: object): Promise<Version> {
    try {
      return this.#adopt(await this.#api.call('POST', this.#place.list, { body: fresh }));
    } catch (error) {
      if (hasStatus(error, 409)) return this.read(); // Another client was faster.
      throw error;
    }
  }

  /** Keeps a version, unless a later one is known: answers and events may pass each other. */
  #adopt(object: ApiObject): Version {
    this.throwIfPutBack();
    const { resourceVersion } = object.metadata;
    const known = this.#known;
    if (known && isOlder(resourceVersion, known.resourceVersion)) return known;
    if (known?.resourceVersion === resourceVersion) return known;
    const text = this.#place.textIn(object);
    const state =
      text === undefined ? firstState(resourceVersion) : parseState(text, this.#place.path);
    if (known && state.revision < known.state.revision) throw this.#putBack();
    const version = { resourceVersion, state };
    this.#known = version;
    this.#versions += 1;
    for (const each of this.#waiting) each();
    this.onChange();
    return version;
  }

  #putBack(): StoreRefusedError {
    this.#refusal ??= new StoreRefusedError(
      `the locks in ${this.#place.path} were put back to an earlier state; end all programs that use them, and start them a TTL afterwards`,
    );
    return this.#refusal;
  }

  /** Returns the text of a state, without its oldest changes if it does not fit with them. */
  #fitting(state: StoredState): string {
    for (let kept = state.changes.length; ; kept = Math.floor(kept / 2)) {
      const changes = kept === 0 ? [] : state.changes.slice(-kept);
      const text = stateText({ ...state, changes });
      const bytes = Buffer.byteLength(text);
      if (bytes <= this.#place.limitBytes) return text;
      if (kept > 0) continue;
      const kib = (size: number) => `${Math.ceil(size / 1024)} KiB`;
      throw new TooLargeError(
        `${this.#place.path} can hold ${kib(this.#place.limitBytes)}, and the locks would need ${kib(bytes)}; ` +
          'release some, or use another store',
      );
    }
  }
}

/** Versions are numbers in every API server that there is; where they are not, none is older. */
function isOlder(a: string, b: string): boolean {
  return /^\d+$/.test(a) && /^\d+$/.test(b) && BigInt(a) < BigInt(b);
}
