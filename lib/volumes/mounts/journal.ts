import type { AppendFile } from '../../linux/append-file.ts';
import { LatestOnly } from '../../running/latest-only.ts';

/** A file with more than this behind its base is replaced when that is more than the base, too. */
const replaceBytes = 65_536;

interface Entry {
  readonly line: string;
  readonly isDurable: boolean;
  readonly done: () => void;
  readonly fail: (error: unknown) => void;
}

export type JournalFile = Pick<AppendFile, 'isThere' | 'append' | 'sync' | 'replace'>;

/**
 * Adds lines to a file, and replaces the file with a short base now and then.
 *
 *     append ─┐              ┌─ lines that need no sync: done
 *     commit ─┴─▶ one write ─┤
 *                            └─▶ one sync ─▶ all lines written before it: done
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
  append(line: string, done: () => void): Promise<void> {
    return this.#add(line, false, done);
  }

  /** Does the same, and resolves when the line survives a power cut. */
  commit(line: string, done: () => void): Promise<void> {
    return this.#add(line, true, done);
  }

  /** Replaces the file with its base, and with the lines that are waiting. */
  async replace(): Promise<void> {
    this.#mustReplace = true;
    await this.#add('', true, () => {});
  }

  /** Resolves when nothing is being written. */
  async idle(): Promise<void> {
    await this.#writing.idle();
    await this.#syncing.idle();
  }

  #add(line: string, isDurable: boolean, done: () => void): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const settle = () => {
      done();
      resolve();
    };
    this.#waiting.push({ line, isDurable, done: settle, fail: reject });
    void this.#writing.run();
    return promise;
  }

  async #write(): Promise<void> {
    if (this.#waiting.length === 0) return;
    if (!this.#isDue()) await this.#look();
    if (this.#isDue()) await this.#syncing.idle(); // Its failure is for those who wait for it.
    const batch = this.#waiting.splice(0);
    const text = batch.map(({ line }) => line).join('');
    try {
      if (this.#isDue()) await this.#replaceWith(batch, text);
      else await this.#appendAll(batch, text);
    } catch (error) {
      this.#failed(batch, error);
    }
  }

  /** Lines that are added to a deleted file are lost with it. */
  async #look(): Promise<void> {
    try {
      if (!(await this.#file.isThere())) this.#mustReplace = true;
    } catch {
      this.#mustReplace = true; // The next step fails in the same way, and says so.
    }
  }

  async #replaceWith(batch: readonly Entry[], text: string): Promise<void> {
    const base = this.#base();
    await this.#file.replace(base + text);
    this.#mustReplace = false;
    this.#baseBytes = base.length;
    this.#addedBytes = text.length;
    for (const { done } of batch) done();
  }

  async #appendAll(batch: readonly Entry[], text: string): Promise<void> {
    await this.#file.append(text);
    this.#addedBytes += text.length;
    for (const entry of batch) {
      if (entry.isDurable) this.#written.push(entry);
      else entry.done();
    }
    if (this.#written.length > 0) void this.#syncing.run();
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
      for (const { done } of batch) done();
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
