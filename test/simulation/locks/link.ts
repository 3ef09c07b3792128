import type { StoreWatcher } from '../../../lib/lock/stores/ticket-store.ts';
import type { Random } from '../random.ts';
import { between, longTailed } from '../random.ts';
import type { Party, Scheduler } from '../scheduler.ts';

/**
 * How well messages get through.
 * - `fair`: each message takes some milliseconds.
 * - `rough`: messages are slow, late, lost or doubled.
 * - `deaf`: requests arrive in time, replies almost too late.
 * - `cut`: nothing gets through.
 */
export type Weather = 'fair' | 'rough' | 'deaf' | 'cut';

/** How long a client waits for an answer. */
const callTimeoutMs = 2_000;

/** The longest delay of a message. */
export const longestDelayMs = 6_000;

export interface LinkOptions {
  readonly scheduler: Scheduler;
  /** The client's process, which receives replies and watch events. */
  readonly client: Party;
  readonly server: Party;
  /** Makes a random stream for each purpose. */
  readonly random: (purpose: string) => Random;
  /** Reports everything that may excuse a failed call. */
  readonly onFault: (what: string) => void;
}

/** A watch that a fault of the network breaks. */
export interface BreakableWatch extends Disposable {
  cut(): void;
}

/** The network between one client and the store. */
export class Link {
  readonly #options: LinkOptions;
  readonly #watches = new Set<BreakableWatch>();
  readonly #calls = new Set<(why: string) => void>();
  readonly #streams = new Map<string, Random>();
  /** The longest delay in fair weather. */
  readonly #slowestMs: number;
  #weather: Weather = 'fair';

  constructor(options: LinkOptions) {
    this.#options = options;
    this.#slowestMs = between(this.#random('speed'), 1, 50);
  }

  get weather(): Weather {
    return this.#weather;
  }

  set weather(weather: Weather) {
    this.#weather = weather;
    if (weather !== 'cut') return;
    const random = this.#random('cut');
    for (const fail of [...this.#calls]) if (random() < 0.5) fail('the connection was cut');
    this.breakWatches();
  }

  /** Ends the watches of a client that has ended. */
  close(): void {
    for (const watch of this.#watches) watch[Symbol.dispose]();
    this.#watches.clear();
  }

  /** Breaks the watches: they miss events from now on, and notice it some time later. */
  breakWatches(): void {
    for (const watch of this.#watches) watch.cut();
  }

  /** Runs `step` in the store when the request arrives there: never, once or twice. */
  call<T>(method: string, step: () => Promise<T>, unavailable: (why: string) => Error): Promise<T> {
    const { scheduler, client, onFault } = this.#options;
    const random = this.#random(method);
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const end = () => {
      timeout.run = undefined;
      this.#calls.delete(fail);
    };
    const fail = (why: string) => {
      end();
      reject(unavailable(`${method}: ${why}`));
    };
    const timeout = scheduler.after(callTimeoutMs, client, 'timer', () => {
      onFault(`${method} timed out`);
      fail('no answer');
    });
    this.#calls.add(fail);
    const reply = (settle: () => void) => {
      const delay = this.#replyDelay(random, method);
      if (delay === undefined) return;
      scheduler.after(delay, client, 'message', () => {
        end();
        settle();
      });
    };
    const arrive = () =>
      step().then(
        (answer) => reply(() => resolve(answer)),
        (error: unknown) => reply(() => reject(error)),
      );
    if (this.#weather === 'cut' && random() < 0.5) {
      scheduler.after(between(random, 0.1, 5), client, 'message', () => fail('no connection'));
      return promise;
    }
    this.#send(random, method, () => void arrive());
    if (this.#weather === 'rough' && random() < 0.08)
      this.#send(random, method, () => void step().catch(() => {}));
    return promise;
  }

  watch(follow: (watcher: StoreWatcher) => Disposable, watcher: StoreWatcher): Disposable {
    const watch = new Watch(this.#options, {
      follow,
      watcher,
      isCut: () => this.#weather === 'cut',
      delay: () => this.watchDelay(),
      random: this.#random('watch'),
    });
    return this.join(watch);
  }

  /** Adds a watch: the faults of this link break it, too. */
  join(watch: BreakableWatch): Disposable {
    this.#watches.add(watch);
    return {
      [Symbol.dispose]: () => {
        this.#watches.delete(watch);
        watch[Symbol.dispose]();
      },
    };
  }

  /** Reports something that may excuse a failed call. */
  fault(what: string): void {
    this.#options.onFault(what);
  }

  /** Returns the delay of an event of a watch. */
  watchDelay(): number {
    const random = this.#random('watch');
    const delay = longTailed(random, 0.2, this.#weather === 'fair' ? this.#slowestMs : 2_000);
    if (delay > 100) this.#options.onFault(`the watch took ${delay.toFixed()} ms`);
    return delay;
  }

  #send(random: Random, method: string, arrive: () => void): void {
    const delay = this.#delay(random, method);
    if (delay === undefined) return;
    this.#options.scheduler.after(delay, this.#options.server, 'message', arrive);
  }

  #replyDelay(random: Random, method: string): number | undefined {
    if (this.#weather !== 'deaf') return this.#delay(random, `reply to ${method}`);
    this.#options.onFault(`the reply to ${method} was slow`);
    return between(random, 0.5 * callTimeoutMs, callTimeoutMs);
  }

  /** Returns the delay of a message; undefined when it is lost. */
  #delay(random: Random, what: string): number | undefined {
    const { onFault } = this.#options;
    if (this.#weather === 'fair' || this.#weather === 'deaf') {
      return longTailed(random, 0.2, this.#slowestMs);
    }
    if (this.#weather === 'cut' || random() < 0.15) {
      onFault(`${what} was lost`);
      return undefined;
    }
    const delay = longTailed(random, 0.2, longestDelayMs);
    if (delay > 100) onFault(`${what} took ${delay.toFixed()} ms`);
    return delay;
  }

  #random(purpose: string): Random {
    const stream = this.#streams.get(purpose) ?? this.#options.random(purpose);
    this.#streams.set(purpose, stream);
    return stream;
  }
}

interface WatchOptions {
  readonly follow: (watcher: StoreWatcher) => Disposable;
  readonly watcher: StoreWatcher;
  readonly isCut: () => boolean;
  readonly delay: () => number;
  readonly random: Random;
}

/** One watch: events are late but in order; it notices a break late, and connects again. */
class Watch implements Disposable {
  readonly #link: LinkOptions;
  readonly #options: WatchOptions;
  #remote: Disposable | undefined;
  #lastArrival = 0;
  /** The number of breaks: what was sent before a break never arrives after it was noticed. */
  #generation = 0;
  #isBroken = false;
  #isEnded = false;

  constructor(link: LinkOptions, options: WatchOptions) {
    this.#link = link;
    this.#options = options;
    this.#connect();
  }

  cut(): void {
    if (this.#isBroken || this.#isEnded) return;
    const { scheduler, client, onFault } = this.#link;
    this.#isBroken = true;
    onFault('the watch broke');
    this.#remote?.[Symbol.dispose]();
    this.#remote = undefined;
    const noticedMs = longTailed(this.#options.random, 1, 3_000);
    scheduler.after(noticedMs, client, 'timer', () => {
      this.#generation += 1;
      if (!this.#isEnded) this.#options.watcher.interrupted();
      this.#connect();
    });
  }

  [Symbol.dispose](): void {
    this.#isEnded = true;
    this.#remote?.[Symbol.dispose]();
  }

  /** Connects, and tries again until it succeeds. */
  #connect(): void {
    if (this.#isEnded) return;
    const { scheduler, client, server } = this.#link;
    const { isCut, delay, random } = this.#options;
    if (isCut()) {
      scheduler.after(between(random, 50, 300), client, 'timer', () => this.#connect());
      return;
    }
    this.#isBroken = false;
    const generation = this.#generation;
    scheduler.after(delay(), server, 'message', () => {
      if (this.#isEnded || this.#isBroken || generation !== this.#generation) return;
      this.#remote = this.#options.follow({
        reset: (state) => this.#arrive(generation, (watcher) => watcher.reset(state)),
        change: (change) => this.#arrive(generation, (watcher) => watcher.change(change)),
        interrupted: () => this.#arrive(generation, (watcher) => watcher.interrupted()),
        resumed: () => this.#arrive(generation, (watcher) => watcher.resumed()),
      });
    });
  }

  /** The events under way, delivered in the order sent, whatever their timers do. */
  readonly #inFlight: (() => void)[] = [];

  #arrive(generation: number, deliver: (watcher: StoreWatcher) => void): void {
    const { scheduler, client } = this.#link;
    this.#lastArrival = Math.max(this.#lastArrival, scheduler.now + this.#options.delay());
    this.#inFlight.push(() => {
      if (!this.#isEnded && generation === this.#generation) deliver(this.#options.watcher);
    });
    scheduler.after(this.#lastArrival - scheduler.now, client, 'message', () =>
      this.#inFlight.shift()?.(),
    );
  }
}
