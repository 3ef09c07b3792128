import {
  closeSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import createDebug from 'debug';
import { z } from 'zod';
import { hasCode } from '../../../linux/error-code.ts';
import { syncDirectory } from './sync-directory.ts';

const log = createDebug('berth:history');

/** The file has this length always, so that a write in place needs no space and tears no value. */
const fileBytes = 512;

const memorySchema = z.object({
  version: z.literal(1),
  /** The history of the lock file that this host used. */
  id: z.string(),
  /** The boot in which it was used last. */
  boot: z.string(),
  /** The last revision that this process has seen in that boot. */
  revision: z.number(),
  /** The last revision that is proved to be on disk: a power cut leaves at least this one. */
  onDisk: z.number(),
  /** The inode and the length of the lock file. */
  inode: z.number(),
  bytes: z.number(),
  /** False: the process before has closed the file, and its log is empty. */
  isOpen: z.boolean(),
});

export type RememberedFile = z.infer<typeof memorySchema>;

/**
 * Remembers what this host knows of its lock file, in a small file beside it. Each commit overwrites it in
 * place, without a sync: after the death of the process it is exact. After a power cut it may be old, and then
 * has lower revisions than the truth, never higher ones (`onDisk` is noted after the sync).
 */
export class FileMemory implements Disposable {
  readonly #path: string;
  readonly before: RememberedFile | undefined;
  #fd: number | undefined;
  #isReported = false;

  constructor(path: string) {
    this.#path = path;
    this.before = read(path);
  }

  /** Begins to remember a file; it is on disk when this returns. A full disk is no reason to stop. */
  begin(remembered: RememberedFile): void {
    this.#close();
    const temporary = `${this.#path}.new`;
    try {
      const fd = openSync(temporary, 'w', 0o600);
      this.#fd = fd;
      writeSync(fd, textOf(remembered), 0);
      fsyncSync(fd);
      renameSync(temporary, this.#path);
      syncDirectory(dirname(this.#path));
    } catch (error) {
      this.#failed(error);
      rmSync(temporary, { force: true });
    }
  }

  note(remembered: RememberedFile): void {
    if (this.#fd === undefined) return;
    try {
      writeSync(this.#fd, textOf(remembered), 0);
    } catch (error) {
      this.#failed(error);
    }
  }

  [Symbol.dispose](): void {
    this.#close();
  }

  #close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  #failed(error: unknown): void {
    if (this.#isReported) return;
    this.#isReported = true;
    log('WARNING the state of the lock file is not remembered in %s: %s', this.#path, error);
  }
}

function textOf(remembered: RememberedFile): string {
  return `${JSON.stringify(remembered).padEnd(fileBytes - 1)}\n`;
}

/** A file that can't be read counts as absent: it proves nothing. */
function read(path: string): RememberedFile | undefined {
  try {
    return memorySchema.parse(JSON.parse(readFileSync(path, 'utf8')));
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) log('WARNING starting without %s: %s', path, error);
    return undefined;
  }
}
