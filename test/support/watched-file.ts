import type { AppendFile } from '../../lib/linux/append-file.ts';
import { appendFile } from '../../lib/linux/append-file.ts';

/** A real file whose calls are counted, can be held up, and can be made to fail. */
export interface WatchedFile extends AppendFile {
  readonly calls: { append: number; sync: number; replace: number };
  /** The next sync waits until the returned function is called. */
  holdSync(): () => void;
  /** The error of the calls from now on; undefined: they work. */
  failWith(error: Error | undefined, ...calls: (keyof WatchedFile['calls'])[]): void;
}

export function watchedFile(path: string): WatchedFile {
  const file = appendFile(path);
  const calls = { append: 0, sync: 0, replace: 0 };
  const failures = new Map<keyof typeof calls, Error>();
  let held: Promise<void> | undefined;
  const called = async (call: keyof typeof calls) => {
    calls[call]++;
    const error = failures.get(call);
    if (error) throw error;
  };
  return {
    calls,
    append: async (text) => {
      await called('append');
      await file.append(text);
    },
    sync: async () => {
      await called('sync');
      const waiting = held;
      held = undefined;
      await waiting;
      await file.sync();
    },
    replace: async (text) => {
      await called('replace');
      await file.replace(text);
    },
    holdSync: () => {
      const { promise, resolve } = Promise.withResolvers<void>();
      held = promise;
      return resolve;
    },
    failWith: (error, ...names) => {
      for (const name of names) {
        if (error) failures.set(name, error);
        else failures.delete(name);
      }
    },
    [Symbol.asyncDispose]: () => file[Symbol.asyncDispose](),
  };
}
