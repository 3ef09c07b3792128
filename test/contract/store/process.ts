import type { ChildProcess } from 'node:child_process';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { LocalStore } from '../bench/local-stores.ts';
import type { Task } from './worker.ts';

export const workerPath = join(import.meta.dirname, 'worker.ts');

/** A real process that uses a store; disposing kills it. */
export class StoreProcess implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #pending = new Map<number, PromiseWithResolvers<unknown>>();
  #calls = 0;
  /** Everything that the process has written to its standard error. */
  errorOutput = '';

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.errorOutput += text;
    });
    child.on('message', (message) => this.#settle(message));
    child.on('exit', () => {
      for (const { reject } of this.#pending.values()) reject(new Error(this.errorOutput));
    });
  }

  /** Starts the process; `wrapper` is a command line to put in front of its own. */
  static async start(
    kind: LocalStore,
    path: string,
    wrapper: readonly string[] = [],
  ): Promise<StoreProcess> {
    const [execPath = process.execPath, ...execArgv] = [...wrapper, process.execPath];
    const child = fork(workerPath, [kind, path, 'serve'], {
      serialization: 'advanced',
      execPath,
      execArgv,
      silent: true,
    });
    const started = new StoreProcess(child);
    await Promise.race([once(child, 'message'), once(child, 'exit')]);
    if (child.exitCode !== null) throw new Error(started.errorOutput);
    return started;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  run(task: Task): Promise<unknown> {
    this.#calls += 1;
    const pending = Promise.withResolvers<unknown>();
    this.#pending.set(this.#calls, pending);
    this.#child.send({ id: this.#calls, task });
    return pending.promise;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Kills the process and resolves when it has ended. */
  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }

  #settle(message: unknown): void {
    if (typeof message !== 'object' || message === null || !('id' in message)) return;
    const id = Number(message.id);
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    if ('error' in message) pending?.reject(new Error(String(message.error)));
    else pending?.resolve('answer' in message ? message.answer : undefined);
  }
}
