import type { ChildProcess } from 'node:child_process';
import { fork } from 'node:child_process';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import createDebug from 'debug';
import { hasCode } from '../../linux/error-code.ts';
import type { Clock } from '../../running/clock.ts';
import { compileCacheVariable } from '../../running/compile-cache.ts';
import { messageOf } from '../../running/message-of.ts';
import { never } from '../../running/never.ts';
import type { DriverContext, DriverPlace } from '../drivers/driver.ts';
import { UnavailableError } from '../errors.ts';
import type { MethodName, Order, Report, SentContext } from './messages.ts';
import { errorOf, failureOf } from './messages.ts';
import { portDigest } from './port-digest.ts';

const log = createDebug('berth:worker');

/** The worker of this release, as source or as built. */
const program = fileURLToPath(new URL(`main${extname(import.meta.url)}`, import.meta.url));

/** Saves 12 MB in a built worker: V8's lite mode has no WebAssembly, which TypeScript sources need. */
const mode = extname(program) === '.js' ? '--lite-mode' : '--optimize-for-size';
/** The port as this process has loaded it, whatever lies in its files later. */
const loadedPort = portDigest();
/** The number of calls on files that can be unanswered before others wait. */
const threads = 32;
/** A worker ends within this time unless a thread of it is kept by storage that does not answer. */
const endLimitMs = 1_000;
const pollMs = 20;

export interface WorkerProcessOptions {
  readonly place: DriverPlace;
  readonly clock: Clock;
}

/** A call on a driver. `context` is left out for a method that takes none. */
export interface RemoteCall {
  readonly driver: string;
  readonly method: MethodName;
  readonly args: readonly unknown[];
  readonly context?: DriverContext | undefined;
  /** Called now and then while the programs of the call work. */
  readonly moved: () => void;
}

interface Pending {
  readonly call: RemoteCall;
  readonly resolve: (value: unknown) => void;
  readonly reject: (reason: unknown) => void;
}

/** One storage worker: a process that runs drivers (README.md). */
export class WorkerProcess {
  readonly #options: WorkerProcessOptions;
  readonly #child: ChildProcess;
  readonly #pending = new Map<number, Pending>();
  /** Resolves when the process and all that it ran have ended. */
  readonly #gone: Promise<void>;
  readonly #started = Promise.withResolvers<void>();
  #lastId = 0;
  #hasEnded = false;
  /** Why the process does no work at all. */
  #refusal: string | undefined;

  constructor(options: WorkerProcessOptions) {
    this.#options = options;
    this.#child = fork(program, [JSON.stringify(options.place), loadedPort], {
      // A process group of its own: its programs can be ended together, and Ctrl-C does not reach it.
      detached: true,
      execArgv: [mode],
      env: { ...process.env, ...compileCacheVariable(), UV_THREADPOOL_SIZE: String(threads) },
      serialization: 'advanced',
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    this.#child.on('message', (report: Report) => this.#hear(report));
    this.#gone = new Promise((resolve) => {
      this.#child.once('exit', (code, signal) => resolve(this.#ended(signal ?? `code ${code}`)));
      this.#child.once('error', (error) => {
        if (this.#child.pid === undefined) resolve(this.#ended(error.message));
      });
    });
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  get ready(): Promise<void> {
    return this.#started.promise;
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /**
   * Runs a driver's method in the worker. Settles when the method has ended: rejects with its error,
   * with the signal's reason, or with UnavailableError when the worker has ended.
   */
  async call(call: RemoteCall): Promise<unknown> {
    this.#lastId += 1;
    const id = this.#lastId;
    const { driver, method, args, context } = call;
    const signal = context?.signal;
    const abort = () => this.#send({ is: 'abort', id, reason: String(signal?.reason) });
    const sent = context && sentContext(context);
    this.#send({ is: 'call', id, driver, method, args, ...(sent && { context: sent }) });
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    this.#pending.set(id, { call, resolve, reject });
    signal?.addEventListener('abort', abort, { once: true });
    try {
      return await promise;
    } finally {
      signal?.removeEventListener('abort', abort);
      this.#pending.delete(id);
    }
  }

  /** Ends the process and what it runs. Resolves also when a thread of it is kept by its storage. */
  async end(): Promise<void> {
    this.#hasEnded = true;
    if (this.#child.connected) this.#child.disconnect();
    const waiting = new AbortController();
    const { clock } = this.#options;
    try {
      await Promise.race([this.#gone, clock.sleep(endLimitMs, waiting.signal)]);
      killGroup(this.#child.pid);
      await Promise.race([this.#gone, clock.sleep(endLimitMs, waiting.signal)]);
    } finally {
      waiting.abort();
      this.#child.unref(); // A thread that its storage keeps must not keep this process, too.
    }
  }

  #send(order: Order): void {
    // A failure to send means that the process has ended, which rejects the calls.
    if (this.#child.connected) this.#child.send(order, () => {});
  }

  #hear(report: Report): void {
    if (report.is === 'ready') {
      this.#started.resolve();
      return;
    }
    if (report.is === 'refusal') {
      this.#refusal = report.message;
      return;
    }
    if (report.is === 'kept') {
      this.#options.place.report?.(report.volume, report.message);
      return;
    }
    const pending = this.#pending.get(report.id);
    if (pending === undefined) return;
    pending.call.moved();
    const { context } = pending.call;
    if (report.is === 'confirm') void this.#confirm(report.id, context);
    if (report.is === 'answer') pending.resolve(report.value);
    if (report.is === 'progress') context?.onProgress?.(report.progress);
    if (report.is === 'failure') {
      const { failure } = report;
      const isAbort = failure.isAbort && context?.signal.aborted === true;
      pending.reject(isAbort ? context.signal.reason : errorOf(failure));
    }
  }

  /** Answers a driver that asks whether its caller's lock is still held. */
  async #confirm(id: number, context: DriverContext | undefined): Promise<void> {
    try {
      await context?.lock?.confirm();
      this.#send({ is: 'confirmed', id });
    } catch (error) {
      const unproved = new UnavailableError(`${messageOf(error)}; try again`, { cause: error });
      this.#send({ is: 'confirmed', id, failure: failureOf(unproved, never) });
    }
  }

  async #ended(how: string): Promise<void> {
    const wasExpected = this.#hasEnded;
    this.#hasEnded = true;
    this.#started.resolve();
    if (!wasExpected) log('ERROR the storage worker (pid %d) ended: %s', this.#child.pid, how);
    // What it ran may still work on the storage; the callers must not go on before that has ended.
    while (killGroup(this.#child.pid)) await this.#options.clock.sleep(pollMs);
    const error = new UnavailableError(
      this.#refusal ??
        `the process that does the storage work ended (${how}); what it had begun is completed by a ` +
          'repetition: repeat the command',
    );
    for (const { reject } of this.#pending.values()) reject(error);
  }
}

function sentContext({ signal: _, onProgress, lock, ...rest }: DriverContext): SentContext {
  return { ...rest, wantsProgress: onProgress !== undefined, token: lock?.token };
}

/** Kills a worker's process group. False: it has no process left. */
function killGroup(pid: number | undefined): boolean {
  if (pid === undefined) return false;
  try {
    return process.kill(-pid, 'SIGKILL');
  } catch (error) {
    if (hasCode(error, 'ESRCH')) return false;
    throw error;
  }
}
