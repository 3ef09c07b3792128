import type { AppendFile } from '../linux/append-file.ts';
import { LatestOnly } from './latest-only.ts';

/** A file with more than this behind its base is replaced when that is more than the base, too. */
const replaceBytes = 65_536;

interface Entry {
  readonly line: string;
  /** Called when the line is written; undefined: only a sync matters. */
  readonly written?: () => void;
  /** Called when the line is on disk; undefined: the line needs no sync. */
  readonly synced?: () => void;
  readonly fail: (error: unknown) => void;
}

export type JournalFile = Pick<AppendFile, 'isThere' | 'append' | 'sync' | 'replace'>;

/**
 * Adds lines to a file, and replaces the file with a short base now and then.
 *
 *     append ─┐              ┌─ `append`: done
 *     stage ──┼─▶ one write ─┼─ `stage`: written
 *     commit ─┘              └─▶ one sync ─▶ `commit`: done, `stage`: on disk
 *
 * Group commit: what arrives during a write shares the next write, and what was written during a
 * sync shares the next sync. After a failed write or sync nobody knows how much of the lines the
 * file has, so nothing is appended until the file has been replaced.
 */
export class Journal {
  readonly #file: JournalFile;
  readonly #base: () => string;
  #waiting: Entry[] = [];
  /** Written, but not known to be on disk. */
  #written: Entry[] = [];
  #mustReplace: boolean;
  #baseBytes: number;
  #addedBytes = 0;
  readonly #writing = new LatestOnly(() => this.#write());
  readonly #syncing = new LatestOnly(() => this.#sync());

  /** `base` returns the text that stands for all lines that are done. */
  constructor(file: JournalFile, base: () => string, isBase: boolean) {
    this.#file = file;
    this.#base = base;
    this.#mustReplace = !isBase;
    this.#baseBytes = base().length;
  }

  /** True if the file is nothing but a base. */
  get isBase(): boolean {
    return !this.#mustReplace && this.#addedBytes === 0;
  }

  /**
   * Adds a line; resolves when the line survives the end of this process. `done` is called in the
   * moment from which `base` has to include the line.
   */
  async append(line: string, done: () => void): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#add({ line, written: both(done, resolve), fail: reject });
    await promise;
  }

  /** Does the same, and resolves when the line survives a power cut. */
  async commit(line: string, done: () => void): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#add({ line, synced: both(done, resolve), fail: reject });
    await promise;
  }

  /**
   * Does as `append`, and begins to sync the line: `synced` resolves when the line survives a power
   * cut. It rejects when the disk refuses that; the line stays done.
   */
  async stage(line: string, done: () => void): Promise<{ readonly synced: Promise<void> }> {
    const write = Promise.withResolvers<void>();
    const sync = Promise.withResolvers<void>();
    sync.promise.catch(() => {
      // Whoever waits for it handles it; the caller may not come to that.
    });
    const fail = (error: unknown) => {
      write.reject(error);
      sync.reject(error);
    };
    this.#add({ line, written: both(done, write.resolve), synced: sync.resolve, fail });
    await write.promise;
    return { synced: sync.promise };
  }

  /** Replaces the file with its base, and with the lines that are waiting. */
  async replace(): Promise<void> {
    this.#mustReplace = true;
    await this.commit('', () => {});
  }

  /** Resolves when nothing is being written. */
  async idle(): Promise<void> {
    await this.#writing.idle();
    await this.#syncing.idle();
  }

  #add(entry: Entry): void {
    this.#waiting.push(entry);
    void this.#writing.run();
  }

  async #write(): Promise<void> {
    if (this.#waiting.length === 0) return;
    if (this.#isDue()) await this.#syncing.idle(); // Its failure is for those who wait for it.
    const batch = this.#waiting.splice(0);
    const text = batch.map(({ line }) => line).join('');
    try {
      if (this.#isDue() || !(await this.#appendAll(batch, text))) {
        await this.#syncing.idle();
        await this.#replaceWith(batch, text);
      }
    } catch (error) {
      this.#failed(batch, error);
    }
  }

  /** Lines that are added to a deleted file are lost with it. */
  async #isThere(): Promise<boolean> {
    try {
      return await this.#file.isThere();
    } catch {
      return false; // The next step fails in the same way, and says so.
    }
  }

  async #replaceWith(batch: readonly Entry[], text: string): Promise<void> {
    const base = this.#base();
    await this.#file.replace(base + text);
    this.#mustReplace = false;
    this.#baseBytes = base.length;
    this.#addedBytes = text.length;
    for (const { written, synced } of batch) {
      written?.();
      synced?.();
    }
  }

  /** Resolves to false if the file was deleted: it has to be replaced. */
  async #appendAll(batch: readonly Entry[], text: string): Promise<boolean> {
    // Looked at beside the write: a file that was deleted before has no link now.
    const [, isThere] = await Promise.all([this.#file.append(text), this.#isThere()]);
    if (!isThere) {
      this.#mustReplace = true;
      return false;
    }
    this.#addedBytes += text.length;
    for (const { line, written, synced, fail } of batch) {
      written?.();
      // From here on the base has a line that counts as written.
      if (synced) this.#written.push({ line: written ? '' : line, synced, fail });
    }
    if (this.#written.length > 0) void this.#syncing.run();
    return true;
  }

  async #sync(): Promise<void> {
    const batch = this.#written.splice(0);
    if (batch.length === 0) return;
    if (this.#mustReplace) {
      // A sync that failed meanwhile may have left a hole in the file before these lines.
      this.#waiting.unshift(...batch);
      void this.#writing.run();
      return;
    }
    try {
      await this.#file.sync();
      for (const { synced } of batch) synced?.();
    } catch (error) {
      this.#failed(batch, error);
    }
  }

  #isDue(): boolean {
    return this.#mustReplace || this.#addedBytes > Math.max(replaceBytes, this.#baseBytes);
  }

  #failed(batch: readonly Entry[], error: unknown): void {
    this.#mustReplace = true;
    for (const { fail } of batch) fail(error);
  }
}

function both(first: () => void, second: () => void): () => void {
  return () => {
    first();
    second();
  };
}
