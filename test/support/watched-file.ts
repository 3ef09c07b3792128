import type { AppendFile } from '../../lib/linux/append-file.ts';
import { appendFile } from '../../lib/linux/append-file.ts';

/** A real file whose calls are counted, can be held up, and can be made to fail. */
export interface WatchedFile extends AppendFile {
  readonly calls: { append: number; sync: number; replace: number };
  /** Makes the next sync wait until `release` is called. */
  holdSync(): void;
  release(): void;
  /** The error of the calls from now on; undefined: they work. */
  failWith(error: Error | undefined, ...calls: (keyof WatchedFile['calls'])[]): void;
}

export function watchedFile(path: string): WatchedFile {
  const file = appendFile(path);
  const calls = { append: 0, sync: 0, replace: 0 };
  const failures = new Map<keyof typeof calls, Error>();
  let held: Promise<void> | undefined;
  let release = () => {};
  const fail = (call: keyof typeof calls) => {
    const error = failures.get(call);
    if (error) throw error;
  };
  return {
    calls,
    isThere: () => file.isThere(),
    append: async (text) => {
      calls.append++;
      fail('append');
      await file.append(text);
    },
    sync: async () => {
      calls.sync++;
      const waiting = held;
      held = undefined;
      await waiting;
      fail('sync');
      await file.sync();
    },
    replace: async (text) => {
      calls.replace++;
      fail('replace');
      await file.replace(text);
    },
    holdSync: () => {
      const { promise, resolve } = Promise.withResolvers<void>();
      held = promise;
      release = resolve;
    },
    release: () => release(),
    failWith: (error, ...names) => {
      for (const name of names) {
        if (error) failures.set(name, error);
        else failures.delete(name);
      }
    },
    [Symbol.asyncDispose]: () => file[Symbol.asyncDispose](),
  };
}
