import type { FileHandle } from 'node:fs/promises';
import { open } from 'node:fs/promises';
import { replaceFile } from './state-file.ts';

/** A file that grows by whole texts, one `append` or `replace` at a time; the
 * others may run beside `append`. */
export interface AppendFile extends AsyncDisposable {
  /** Returns false if somebody has deleted or replaced the file since it was opened. */
  isThere(): Promise<boolean>;
  /**
   * Adds a text. It is in the file when this resolves and survives the end of this process, but not
   * a power cut. After a rejection a part of the text may be in the file.
   */
  append(text: string): Promise<void>;
  /** Resolves when all that was appended before the call is on disk. */
  sync(): Promise<void>;
  /** Replaces the whole file, atomically; the text is on disk when this resolves. */
  replace(text: string): Promise<void>;
}

export function appendFile(path: string): AppendFile {
  let handle: Promise<FileHandle> | undefined;
  let isClosed = false;
  const close = async () => {
    const old = handle;
    handle = undefined;
    await (await old?.catch(() => undefined))?.close();
  };
  const opened = async () => {
    if (isClosed) throw new Error(`${path} is closed`);
    handle ??= open(path, 'a', 0o600);
    const opening = handle;
    try {
      return await opening;
    } catch (error) {
      if (handle === opening) handle = undefined; // The next call tries again.
      throw error;
    }
  };
  return {
    isThere: async () => {
      let isLinked = false;
      await naming(path, async () => {
        isLinked = (await (await opened()).stat()).nlink > 0;
      });
      return isLinked;
    },
    append: (text) => naming(path, async () => (await opened()).appendFile(text)),
    sync: () => naming(path, async () => (await opened()).datasync()),
    replace: async (text) => {
      await close();
      await replaceFile(path, text);
      await opened();
    },
    [Symbol.asyncDispose]: async () => {
      isClosed = true;
      await close();
    },
  };
}

/** Runs work on a file. Node names the path only where a file is opened, so this adds it. */
async function naming(path: string, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (Error.isError(error) && !error.message.includes(path)) error.message += ` '${path}'`;
    throw error;
  }
}
