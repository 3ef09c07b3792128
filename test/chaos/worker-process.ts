import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { TcpProxy } from '../support/tcp-proxy.ts';
import type { AddResult, Writing } from './guarded-set.ts';
import type { Task, WorkerSettings } from './worker-task.ts';
import { holding } from './worker-task.ts';

const workerPath = join(import.meta.dirname, 'worker.ts');
const wallClockPath = join(import.meta.dirname, 'wall-clock.ts');

export interface WorkerOptions extends WorkerSettings {
  /** The error of its wall clock at the start. */
  readonly clockOffsetMs?: number;
  /** The network of the worker: one proxy for each server of the store, if it has any. */
  readonly network: readonly TcpProxy[];
}

/** A process with a lock manager of its own; killed when disposed of, or when this process ends. */
export class WorkerProcess implements AsyncDisposable {
  readonly name: string;
  readonly historyPath: string;
  readonly network: readonly TcpProxy[];
  readonly #child: ChildProcess;
  readonly #pending = new Map<number, PromiseWithResolvers<unknown>>();
  readonly #exited: Promise<unknown>;
  #held = Promise.withResolvers<void>();
  #calls = 0;
  #errorOutput = '';
  #isKilled = false;

  private constructor(child: ChildProcess, { name, historyPath, network }: WorkerOptions) {
    this.name = name;
    this.historyPath = historyPath;
    this.network = network;
    this.#child = child;
    this.#exited = once(child, 'exit');
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#errorOutput += text;
    });
    child.on('message', (message) => this.#settle(message));
    child.on('exit', () => {
      const why = new Error(`${name} has ended: ${this.#errorOutput}`);
      for (const { reject } of this.#pending.values()) reject(why);
      this.#pending.clear();
    });
  }

  static async start(options: WorkerOptions): Promise<WorkerProcess> {
    const { name, store, ttlMs, historyPath, clockOffsetMs = 0 } = options;
    const settings: WorkerSettings = { name, store, ttlMs, historyPath };
    const node = [process.execPath, '--import', wallClockPath, workerPath];
    // A frozen process can't notice that its parent has ended.
    const args = ['--pdeathsig', 'KILL', ...node, JSON.stringify(settings)];
    const child = spawn('setpriv', args, {
      env: { ...process.env, NODE_OPTIONS: '', BERTH_CLOCK_OFFSET_MS: String(clockOffsetMs) },
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    });
    const started = new WorkerProcess(child, options);
    await Promise.race([once(child, 'message'), started.#exited]);
    if (started.hasEnded) throw new Error(`${name} can't start: ${started.#errorOutput}`);
    return started;
  }

  get hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** Returns what it wrote if it ended without being killed: by an error or a rejection that nobody handled. */
  get crash(): string | undefined {
    return this.hasEnded && !this.#isKilled ? this.#errorOutput : undefined;
  }

  /** Opens its session, so that this takes no time later. */
  async open(): Promise<void> {
    await this.#call({ name: 'open' });
  }

  /** Adds an element to a set under its lock. */
  async add(set: string, writing: Writing = 'guarded'): Promise<AddResult> {
    return (await this.#call({ name: 'add', sets: [set], writing, halts: false })) as AddResult;
  }

  /** Adds as `add` does, but halts under the lock, between the read and the write, until `go`. */
  async hold(
    set: string,
    writing: Writing = 'guarded',
  ): Promise<{ readonly added: Promise<AddResult> }> {
    const holds = this.nextHold();
    const call = this.#call({ name: 'add', sets: [set], writing, halts: true });
    const added = call.then((answer) => answer as AddResult);
    added.catch(() => {}); // Its awaiter gets the error; nobody awaits a killed holder.
    const neverCame = added.then((result) => {
      throw new Error(`${this.name} did not come to hold ${set}: ${result.outcome}`);
    });
    await Promise.race([holds, neverCame]);
    neverCame.catch(() => {});
    return { added };
  }

  /** Resolves when it has next read under a lock and pauses before the write. */
  nextHold(): Promise<void> {
    return this.#held.promise;
  }

  /** Continues the holder that halted first. */
  async go(): Promise<void> {
    await this.#call({ name: 'go' });
  }

  /** Adds to some of the sets repeatedly, until `rest`. */
  async work(sets: readonly string[], seed: number): Promise<void> {
    await this.#call({ name: 'work', sets, seed });
  }

  /** Resolves when its last step has ended. */
  async rest(): Promise<void> {
    await this.#call({ name: 'rest' });
  }

  async shiftClock(offsetMs: number): Promise<void> {
    await this.#call({ name: 'shiftClock', offsetMs });
  }

  /** Closes its manager, as a daemon does when it stops. */
  async close(): Promise<void> {
    await this.#call({ name: 'close' });
    await this.kill();
  }

  freeze(): void {
    this.#child.kill('SIGSTOP');
  }

  thaw(): void {
    this.#child.kill('SIGCONT');
  }

  /** Kills the process and resolves when it has ended. */
  async kill(): Promise<void> {
    this.#isKilled ||= !this.hasEnded;
    this.#child.kill('SIGKILL');
    await this.#exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }

  #call(task: Task): Promise<unknown> {
    if (this.hasEnded) throw new Error(`${this.name} has ended: ${this.#errorOutput}`);
    this.#calls += 1;
    const pending = Promise.withResolvers<unknown>();
    this.#pending.set(this.#calls, pending);
    this.#child.send({ id: this.#calls, task });
    return pending.promise;
  }

  #settle(message: unknown): void {
    if (message === holding) {
      this.#held.resolve();
      this.#held = Promise.withResolvers();
    }
    if (typeof message !== 'object' || message === null || !('id' in message)) return;
    const id = Number(message.id);
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    if ('error' in message) pending?.reject(new Error(String(message.error)));
    else pending?.resolve('answer' in message ? message.answer : undefined);
  }
}
