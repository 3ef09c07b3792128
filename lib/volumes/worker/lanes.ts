import type { Clock } from '../../running/clock.ts';
import { UnavailableError } from '../errors.ts';
import type { EventSink } from '../events.ts';
import type { Silence, Silences } from '../silence.ts';
import { describeSilence, StorageSilentError } from '../silence.ts';
import type { CallKind } from './calls.ts';

/** A process that does storage work, as far as the lanes know it. */
export interface EndingWorker {
  /** True: it takes no call any more. */
  readonly hasEnded: boolean;
  /** Resolves when it has started or ended; it takes calls before, and answers them later. */
  readonly ready: Promise<void>;
  /** Ends it, with whatever it runs. Resolves when it has ended, or can't be ended now. */
  end(): Promise<void>;
}

export interface LanesOptions<W extends EndingWorker> {
  readonly start: () => W;
  readonly clock: Clock;
  readonly events: EventSink;
}

/** A worker and what it does now. */
interface Place<W> {
  readonly worker: W;
  readonly calls: Set<Call<W>>;
}

interface Call<W> {
  readonly kind: CallKind;
  readonly place: Place<W>;
  /** The number of times that it was seen to move. */
  moves: number;
  /** The time of its last movement. */
  since: Date;
  /** Aborts when it has ended, or the lanes are closed: nobody watches that it moves then. */
  readonly watch: AbortController;
  /** Filled when it has not answered within its limit, until it ends. */
  silences: readonly Silence[];
}

interface Waiter {
  readonly start: () => void;
  readonly refuse: (reason: Error) => void;
}

interface Lane<W> {
  readonly waiters: Waiter[];
  /** The call whose turn it is; undefined for the moment in which the turn is handed on. */
  call?: Call<W>;
}

/** Without a reason, each abort would make an error with the whole stack. */
const over = 'the call is over';

const closedError = () => new UnavailableError('berth is stopping, and begins no storage work');

/** Bounds the memory: a worker takes about 50 MB. */
const mostSetAside = 3;
/** A limit is waited for in parts, so that the time for which this process stood still does not count. */
const partsOfLimit = 4;

/**
 * Gives each call its turn in its lane and a worker, and watches that it moves (README.md). The
 * promise of a call settles only when the call has ended; that of a call that only reads rejects
 * StorageSilentError at its limit.
 */
export class Lanes<W extends EndingWorker> implements Silences, AsyncDisposable {
  readonly #options: LanesOptions<W>;
  readonly #lanes = new Map<string, Lane<W>>();
  readonly #places = new Set<Place<W>>();
  readonly #listeners = new Set<{ volume: string; heard: (silence: Silence) => void }>();
  /** The place that gets the next call; the others are set aside. */
  #current: Place<W> | undefined;
  /** The place that is about to become the current one. */
  #starting: Place<W> | undefined;
  readonly #closed = new AbortController();

  constructor(options: LanesOptions<W>) {
    this.#options = options;
  }

  /**
   * Rejects StorageSilentError at once when the volume's storage does not answer, and UnavailableError
   * when the lanes are closed.
   */
  async run<T>(
    kind: CallKind,
    signal: AbortSignal,
    work: (worker: W, moved: () => void) => Promise<T>,
  ): Promise<T> {
    signal.throwIfAborted();
    this.#refuseSilent(kind);
    this.#refuseWhenClosed();
    const lane = await this.#turn(kind.lane, signal);
    this.#refuseWhenClosed();
    const call = this.#begin(kind);
    lane.call = call;
    const silent = Promise.withResolvers<never>();
    silent.promise.catch(() => {}); // Of interest only to a call that reads.
    const ended = this.#untilItsEnd(call, lane, work, silent.reject);
    return kind.isRead ? await Promise.race([ended, silent.promise]) : await ended;
  }

  all(): readonly Silence[] {
    const silences = [...this.#places].flatMap(({ calls }) =>
      [...calls].flatMap((call) => call.silences),
    );
    return silences.sort((one, other) => one.since.getTime() - other.since.getTime());
  }

  of(volume: string): Silence | undefined {
    return this.all().find((silence) => silence.volume === volume);
  }

  onSilence(volume: string, heard: (silence: Silence) => void): Disposable {
    const listener = { volume, heard };
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  /** Ends all workers with what they run. No call begins any more, so that none starts a worker. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed.abort();
    for (const { calls } of this.#places) for (const { watch } of calls) watch.abort(over);
    for (const { waiters } of this.#lanes.values()) {
      for (const waiter of waiters.splice(0)) waiter.refuse(closedError());
    }
    await Promise.all([...this.#places].map(({ worker }) => worker.end()));
  }

  /** Starts a worker now, so that the first call does not wait for the start. */
  warmUp(): void {
    this.#place();
  }

  #refuseWhenClosed(): void {
    if (this.#closed.signal.aborted) throw closedError();
  }

  #refuseSilent({ lane, volumes, isAlwaysTried }: CallKind): void {
    const inLane = this.#lanes.get(lane)?.call?.silences[0];
    const others = isAlwaysTried ? [] : volumes.map((volume) => this.of(volume));
    const silence = inLane ?? others.find((found) => found !== undefined);
    if (silence) throw new StorageSilentError(silence);
  }

  /** Resolves when the lane is free for its caller, first come, first served. */
  #turn(name: string, signal: AbortSignal): Promise<Lane<W>> {
    const lane = this.#lanes.get(name);
    if (!lane) {
      const free: Lane<W> = { waiters: [] };
      this.#lanes.set(name, free);
      return Promise.resolve(free);
    }
    return new Promise((resolve, reject) => {
      const leave = () => {
        lane.waiters.splice(lane.waiters.indexOf(waiter), 1);
        reject(signal.reason);
      };
      const settle = (settled: () => void) => {
        signal.removeEventListener('abort', leave);
        settled();
      };
      const waiter: Waiter = {
        start: () => settle(() => resolve(lane)),
        refuse: (reason) => settle(() => reject(reason)),
      };
      lane.waiters.push(waiter);
      signal.addEventListener('abort', leave, { once: true });
    });
  }

  #begin(kind: CallKind): Call<W> {
    const place = this.#place();
    const since = this.#options.clock.date();
    const watch = new AbortController();
    const call: Call<W> = { kind, place, moves: 0, since, watch, silences: [] };
    place.calls.add(call);
    return call;
  }

  /** Returns the current place, with a worker that takes calls. */
  #place(): Place<W> {
    if (this.#current && !this.#current.worker.hasEnded) return this.#current;
    return this.#moveTo(this.#newPlace());
  }

  #newPlace(): Place<W> {
    const place: Place<W> = { worker: this.#options.start(), calls: new Set() };
    this.#places.add(place);
    return place;
  }

  /** Sets the current worker aside: it gets no further call, and ends when its last call has ended. */
  async #replace(): Promise<void> {
    const next = this.#newPlace();
    this.#starting = next;
    await next.worker.ready; // Until then the current one takes the calls of other volumes.
    this.#starting = undefined;
    this.#moveTo(next);
  }

  #moveTo(next: Place<W>): Place<W> {
    const left = this.#current;
    this.#current = next;
    if (left) this.#endIfIdle(left);
    return next;
  }

  async #untilItsEnd<T>(
    call: Call<W>,
    lane: Lane<W>,
    work: (worker: W, moved: () => void) => Promise<T>,
    onSilent: (reason: Error) => void,
  ): Promise<T> {
    const moved = () => {
      call.moves += 1;
      call.since = this.#options.clock.date();
    };
    void this.#isSilent(call).then((isSilent) => {
      if (isSilent) onSilent(this.#becameSilent(call, lane));
    });
    try {
      return await work(call.place.worker, moved);
    } finally {
      call.watch.abort(over);
      this.#over(call, lane);
    }
  }

  /**
   * Resolves to true when the call has not moved for its limit, to false when it has ended or the
   * lanes are closed.
   */
  async #isSilent(call: Call<W>): Promise<boolean> {
    // A busy machine takes its time to start a worker, and that says nothing of the storage.
    await call.place.worker.ready;
    const { signal } = call.watch;
    const partMs = call.kind.limitMs / partsOfLimit;
    let seen = call.moves;
    for (let parts = 0; parts < partsOfLimit; ) {
      await this.#options.clock.sleep(partMs, signal);
      if (signal.aborted) return false;
      parts = call.moves === seen ? parts + 1 : 0;
      seen = call.moves;
    }
    return true;
  }

  #becameSilent(call: Call<W>, lane: Lane<W>): StorageSilentError {
    const { volumes, work, isRead } = call.kind;
    const silenceOf = (volume: string): Silence => ({ volume, work, isRead, since: call.since });
    const first = silenceOf(volumes[0] ?? '');
    call.silences = [first, ...volumes.slice(1).map(silenceOf)];
    const error = new StorageSilentError(first);
    for (const waiter of lane.waiters.splice(0)) waiter.refuse(error);
    const isReplaceable =
      !this.#closed.signal.aborted && call.place === this.#current && this.#starting === undefined;
    if (isReplaceable && this.#places.size <= mostSetAside) void this.#replace();
    for (const silence of call.silences) {
      this.#record('warning', 'silent', silence.volume, describeSilence(silence));
      for (const { volume, heard } of [...this.#listeners]) {
        if (volume === silence.volume) heard(silence);
      }
    }
    return error;
  }

  #over(call: Call<W>, lane: Lane<W>): void {
    const { place, silences, kind } = call;
    place.calls.delete(call);
    for (const { volume } of silences) {
      const storage = volume === '' ? 'the storage' : `the storage of volume ${volume}`;
      this.#record('info', 'answered', volume, `${storage} answers again (${kind.work})`);
    }
    this.#endIfIdle(place);
    delete lane.call;
    const next = lane.waiters.shift();
    if (next) next.start();
    else this.#lanes.delete(kind.lane);
  }

  #endIfIdle(place: Place<W>): void {
    const isNeeded = place === this.#current || place === this.#starting;
    if (isNeeded || place.calls.size > 0) return;
    this.#places.delete(place);
    void place.worker.end();
  }

  #record(
    severity: 'info' | 'warning',
    kind: 'silent' | 'answered',
    volume: string,
    message: string,
  ): void {
    this.#options.events.record({ severity, kind, volume, message });
  }
}
