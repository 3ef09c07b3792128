import { getEventListeners } from 'node:events';
import { LockError, StoreUnavailableError } from '../../../lib/lock/errors.ts';
import type { LockManager } from '../../../lib/lock/lock-manager.ts';
import type { RememberedHistory } from '../../../lib/lock/stores/history-record.ts';
import { between, randomStream } from '../random.ts';
import type { Party, Scheduler } from '../scheduler.ts';
import type { LockCommand } from './commands.ts';
import { codeOf, textOf } from './error-texts.ts';
import type { Happening } from './history.ts';
import type { HoldingDisk, HoldingOptions, HoldingPlan } from './holding.ts';
import { Holding } from './holding.ts';
import type { Weather } from './link.ts';
import type { Daemon, DaemonDisk } from './simulated-daemon.ts';
import { startDaemon } from './simulated-daemon.ts';
import type { SimulatedWorld } from './simulated-world.ts';

export interface SimulatedHostOptions {
  readonly name: string;
  readonly seed: number;
  readonly scheduler: Scheduler;
  readonly party: Party;
  readonly world: SimulatedWorld;
  readonly record: (happening: Happening) => void;
  /** Present for a copy of a host: the disk that it begins with, and how long it holds the locks on it. */
  readonly copied?: { readonly disk: Disk; readonly holdMs: number };
}

type Disk = DaemonDisk & HoldingDisk;

/** The plan for a lock that a daemon re-acquires from the one before; a copy holds it longer. */
const afterRestart: HoldingPlan = { holdMs: 500, writes: 1, ending: 'unlock', listens: true };

/** One machine: a clock that runs a little too fast or slow, and daemons that start and end. */
export class SimulatedHost {
  readonly name: string;
  readonly #options: SimulatedHostOptions;
  readonly #rate: number;
  readonly #startMs: number;
  readonly #holdings = new Set<Holding>();
  /** The disk, on which a daemon keeps state for the next one. */
  readonly #disk: Disk;
  #daemon: Daemon | undefined;
  #starts = 0;
  #nonces = 0;
  #open = 0;
  #isStopping = false;
  #isCloned = false;
  #frozenUntil = 0;

  constructor(options: SimulatedHostOptions) {
    this.#options = options;
    this.name = options.name;
    this.#disk = options.copied?.disk ?? {
      session: undefined,
      history: undefined,
      tickets: new Map(),
    };
    const random = randomStream(options.seed, `${options.name} clock`);
    this.#rate = between(random, 0.99, 1.01);
    this.#startMs = between(random, 0, 1e9);
  }

  /** The number of requests and holds that have not ended. */
  get open(): number {
    return this.#open;
  }

  get daemon(): Daemon | undefined {
    return this.#daemon;
  }

  set weather(weather: Weather) {
    if (!this.#daemon) return;
    if (weather !== 'fair') this.#fault(weather);
    this.#daemon.link.weather = weather;
  }

  breakWatch(): void {
    this.#daemon?.link.breakWatches();
  }

  start({ resume }: { readonly resume: boolean }): void {
    if (this.#daemon) return;
    const disk = this.#disk;
    if (!resume) disk.tickets.clear();
    this.#starts += 1;
    const daemon = startDaemon({
      ...{ ...this.#options, disk, rate: this.#rate, startMs: this.#startMs },
      owner: this.name.replace('-copy', ''),
      life: `${this.name}.${this.#starts}`,
      resume: resume ? disk.session : undefined,
      onFault: (what) => this.#fault(what),
      newNonce: () => `${this.name}-${++this.#nonces}`,
    });
    this.#daemon = daemon;
    this.#options.record({ kind: 'started', host: this.name });
    this.#run(() => this.#adopt(daemon));
  }

  /** Stops the daemon in order (SIGTERM), which leaves its locks to the next one. */
  stop(): void {
    const daemon = this.#daemon;
    if (daemon?.party.state !== 'running' || this.#isStopping || this.#isCloned) return;
    this.#isStopping = true;
    this.#options.record({ kind: 'stopping', host: this.name });
    for (const holding of this.#holdings) holding.abandon();
    this.#run(async () => {
      await daemon.manager.close({ keep: true });
      this.crash();
    });
  }

  /** Kills the daemon (SIGKILL). */
  crash(): void {
    const daemon = this.#daemon;
    if (!daemon || this.#isCloned) return;
    this.#isStopping = false;
    daemon.party.state = 'gone';
    daemon.link.close();
    void daemon.connection[Symbol.asyncDispose]();
    this.#daemon = undefined;
    this.#holdings.clear();
    this.#open = 0;
    this.#options.record({ kind: 'crashed', host: this.name });
  }

  /** Freezes the daemon (SIGSTOP). */
  pause(): void {
    if (this.#daemon?.party.state !== 'running') return;
    this.#daemon.party.state = 'paused';
    this.#options.record({ kind: 'paused', host: this.name });
  }

  /** Freezes the daemon for a time, and starts another host with a copy of its disk; undefined if it can't. */
  clone(ms: number): SimulatedHost | undefined {
    if (this.#daemon?.party.state !== 'running' || this.#isStopping || this.#isCloned) return;
    this.#isCloned = true;
    this.pause();
    this.#frozenUntil = this.#options.scheduler.now + ms;
    const disk = { ...this.#disk, tickets: new Map(this.#disk.tickets) };
    // It still holds them when this host goes on.
    const copied = { disk, holdMs: ms + 2_000 };
    const clone = new SimulatedHost({ ...this.#options, name: `${this.name}-copy`, copied });
    clone.start({ resume: true });
    return clone;
  }

  /** Thaws the daemon (SIGCONT); the first thing that its holders do is to check their locks. */
  resume(): void {
    if (this.#daemon?.party.state !== 'paused') return;
    if (this.#options.scheduler.now < this.#frozenUntil) return;
    const random = randomStream(this.#options.seed, `${this.name} ${this.#options.scheduler.now}`);
    const first = (['due', 'timer', 'message'] as const)[Math.floor(random() * 3)] ?? 'due';
    this.#options.scheduler.resume(this.#daemon.party, first);
    this.#options.record({ kind: 'resumed', host: this.name });
    for (const holding of [...this.#holdings]) holding.check();
  }

  /** Makes the holders check their locks that don't listen to the signal. */
  check(): void {
    if (this.#daemon?.party.state !== 'running') return;
    for (const holding of [...this.#holdings]) if (!holding.listens) holding.check();
  }

  /** Runs an operator's command; only an unavailable store may make it fail. */
  operate(work: (manager: LockManager) => Promise<void>): void {
    const daemon = this.#daemon;
    if (daemon?.party.state !== 'running' || this.#isStopping) return;
    this.#run(async () => {
      try {
        await work(daemon.manager);
      } catch (error) {
        if (!(error instanceof StoreUnavailableError)) throw error;
        this.#fault("an operator's command found the store unavailable");
      }
    });
  }

  /** Makes a request, once the daemon is not frozen. */
  use(request: string, command: LockCommand): void {
    const daemon = this.#daemon;
    if (!daemon) return;
    const run = () => {
      if (!this.#isStopping) this.#run(() => this.#use(daemon, request, command));
    };
    this.#options.scheduler.after(0, daemon.party, 'message', run);
  }

  /** Returns the history that this host remembers of the store. */
  get history(): RememberedHistory | undefined {
    return this.#disk.history;
  }

  /** Records that the server was put back, and breaks the connections to it. */
  serverPutBack(): void {
    this.#fault('the store was put back');
    this.#daemon?.link.breakWatches();
  }

  async close(): Promise<void> {
    await this.#daemon?.manager.close({ keep: false });
    this.#daemon?.link.close();
    await this.#daemon?.connection[Symbol.asyncDispose]();
  }

  async #use(daemon: Daemon, request: string, command: LockCommand): Promise<void> {
    const { record, scheduler } = this.#options;
    const { locks, timeoutMs, ttlMs, maxHoldMs, cancelAfterMs } = command;
    const limits = {
      ...(timeoutMs !== undefined && { timeoutMs }),
      ...(maxHoldMs !== undefined && { maxHoldMs }),
    };
    record({ kind: 'requested', request, host: this.name, limits: { locks, ...limits } });
    const caller = new AbortController();
    let isSettled = false;
    if (cancelAfterMs !== undefined) {
      scheduler.after(cancelAfterMs, daemon.party, 'timer', () => {
        if (!isSettled) record({ kind: 'cancelled', request });
        caller.abort(new Error('cancelled by the simulation'));
      });
    }
    const startedAt = daemon.clock.now();
    try {
      const lock = await daemon.manager.lock(locks, {
        reason: 'Mount',
        detail: request,
        signal: caller.signal,
        ...limits,
        ...(ttlMs !== undefined && { ttlMs }),
      });
      isSettled = true;
      const holding = this.#hold({ request, lock, daemon, plan: command });
      await holding.live();
      this.#holdings.delete(holding);
    } catch (error) {
      if (isSettled) throw error;
      isSettled = true;
      const waitedMs = daemon.clock.now() - startedAt;
      record({ kind: 'failed', request, code: codeOf(error), message: String(error), waitedMs });
    }
    if (getEventListeners(caller.signal, 'abort').length > 0) {
      record({ kind: 'bug', message: `${request} left a listener on its caller's signal` });
    }
  }

  /** Re-acquires the locks that are on the disk, and removes all other tickets of the owner. */
  async #adopt(daemon: Daemon): Promise<void> {
    const tickets = new Map(this.#disk.tickets);
    for (;;) {
      try {
        await daemon.manager.open();
        for (const [request, { ticket, historyId }] of tickets) {
          // A ticket of another history proves nothing, although it may stand again.
          const isOfHistory = historyId === daemon.manager.historyId;
          const lock = isOfHistory ? await daemon.manager.attach(ticket) : undefined;
          tickets.delete(request);
          if (!lock) {
            this.#disk.tickets.delete(request);
            continue;
          }
          const holdMs = this.#options.copied?.holdMs ?? afterRestart.holdMs;
          const plan = { ...afterRestart, holdMs };
          const holding = this.#hold({ request, lock, daemon, plan });
          this.#run(() => holding.live());
        }
        return await daemon.manager.dropStrays();
      } catch (error) {
        if (!(error instanceof LockError)) throw error;
        await new Promise<void>((resolve) => {
          this.#options.scheduler.after(100, daemon.party, 'timer', resolve);
        });
      }
    }
  }

  #hold(what: Pick<HoldingOptions, 'request' | 'lock' | 'daemon' | 'plan'>): Holding {
    const { world } = this.#options;
    const holding = new Holding({ ...this.#options, ...what, store: world, disk: this.#disk });
    this.#holdings.add(holding);
    return holding;
  }

  #run(work: () => Promise<void>): void {
    const { record } = this.#options;
    const daemon = this.#daemon;
    this.#open += 1;
    work()
      .catch((error) => record({ kind: 'bug', message: textOf(error) }))
      .finally(() => {
        if (this.#daemon === daemon) this.#open -= 1;
      });
  }

  #fault(what: string): void {
    this.#options.record({ kind: 'fault', host: this.name, what });
  }
}
