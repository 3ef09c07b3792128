import { StoreUnavailableError } from '../../../lib/lock/errors.ts';
import type { WatchEvent } from '../../../lib/lock/stores/kubernetes/api.ts';
import type { BreakableWatch, Link } from '../locks/link.ts';
import type { Random } from '../random.ts';
import { longTailed } from '../random.ts';
import type { Party, Scheduled, Scheduler } from '../scheduler.ts';
import type { SimulatedApiServer } from './simulated-api-server.ts';

export interface ApiWatchOptions {
  readonly scheduler: Scheduler;
  /** The processes of the client and of the API server. */
  readonly party: Party;
  readonly serverParty: Party;
  readonly link: Link;
  readonly server: Pick<SimulatedApiServer, 'follow'>;
  readonly path: string;
  readonly onEvent: (event: WatchEvent) => void;
  readonly signal: AbortSignal;
  readonly random: (purpose: string) => Random;
}

/** The share of the breaks that the client does not notice by itself. */
const silentShare = 0.2;

/**
 * One watch of a client: its events are late, but in order. A break is noticed late, or never, as that of
 * a connection that was lost without a sign. The server ends it after `timeoutSeconds`.
 */
export class ApiWatch implements BreakableWatch {
  readonly #options: ApiWatchOptions;
  readonly #ended = Promise.withResolvers<void>();
  readonly #random: Random;
  /** The events under way, delivered in the order sent. */
  readonly #inFlight: (() => void)[] = [];
  readonly #joined: Disposable;
  #remote: Disposable | undefined;
  #timeout: Scheduled | undefined;
  #lastArrival = 0;
  #isBroken = false;
  #isOver = false;

  constructor(options: ApiWatchOptions) {
    this.#options = options;
    this.#random = options.random('watch of the API');
    const { link, signal } = options;
    this.#joined = link.join(this);
    signal.addEventListener('abort', this.#onAbort);
    if (signal.aborted) this.#onAbort();
    else if (link.weather === 'cut') this.cut();
    else this.#connect();
  }

  /** Resolves when the server ends the watch; rejects when it breaks. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  cut(): void {
    if (this.#isBroken || this.#isOver) return;
    this.#isBroken = true;
    this.#disconnect();
    const { link, scheduler, party } = this.#options;
    link.fault('the watch broke');
    if (this.#random() < silentShare) return;
    const noticedMs = longTailed(this.#random, 1, 3_000);
    scheduler.after(noticedMs, party, 'timer', () => this.#fail('the connection broke'));
  }

  [Symbol.dispose](): void {
    this.#end(() => this.#ended.reject(unavailable('the client has ended')));
  }

  #connect(): void {
    const { scheduler, serverParty, server, path, link } = this.#options;
    const seconds = Number(new URLSearchParams(path.split('?')[1]).get('timeoutSeconds'));
    scheduler.after(link.watchDelay(), serverParty, 'message', () => {
      if (this.#isOver || this.#isBroken) return;
      this.#remote = server.follow(path, (event) => this.#send(() => this.#deliver(event)));
      this.#timeout = scheduler.after(seconds * 1_000, serverParty, 'timer', () => {
        this.#send(() => this.#end(() => this.#ended.resolve()));
      });
    });
  }

  #send(arrive: () => void): void {
    const { scheduler, party, link } = this.#options;
    this.#lastArrival = Math.max(this.#lastArrival, scheduler.now + link.watchDelay());
    this.#inFlight.push(arrive);
    const inMs = this.#lastArrival - scheduler.now;
    scheduler.after(inMs, party, 'message', () => {
      const next = this.#inFlight.shift();
      if (!this.#isBroken) next?.();
    });
  }

  #deliver(event: WatchEvent): void {
    if (this.#isOver) return;
    try {
      this.#options.onEvent(event);
    } catch (error) {
      this.#fail(String(error));
    }
  }

  readonly #onAbort = () => this.#fail('no answer in time');

  #fail(why: string): void {
    this.#end(() => this.#ended.reject(unavailable(why)));
  }

  #end(settle: () => void): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#disconnect();
    this.#joined[Symbol.dispose]();
    this.#options.signal.removeEventListener('abort', this.#onAbort);
    settle();
  }

  #disconnect(): void {
    this.#remote?.[Symbol.dispose]();
    if (this.#timeout) this.#timeout.run = undefined;
  }
}

function unavailable(why: string): Error {
  return new StoreUnavailableError(`the API server does not answer: ${why}`);
}
