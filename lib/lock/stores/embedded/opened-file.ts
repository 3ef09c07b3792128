import type { ProcessIdentity } from '../../../linux/process-identity.ts';
import type { HistoryChange } from '../../history.ts';
import type { ChangeSource } from '../change-feed.ts';
import type { StoreChange, StoreState } from '../ticket-store.ts';
import type { WalFile } from './commit-sync.ts';
import type { FileGuard } from './file-guard.ts';
import { OtherFileError } from './file-guard.ts';
import { Gates } from './gates.ts';
import { LockFile } from './lock-file.ts';
import { TicketQueue } from './queue.ts';
import { Sessions } from './sessions.ts';

/** The parts of the store on one open file. */
export interface FileParts {
  readonly file: LockFile;
  readonly sessions: Sessions;
  readonly gates: Gates;
  readonly queue: TicketQueue;
  /** Ends the sessions of earlier boots and of dead processes. */
  readonly purge: () => void;
}

/** The file to open, and the log of its commits. */
export interface OpenedFileOptions {
  readonly path: string;
  readonly openWal?: (path: string) => WalFile;
}

/**
 * The lock file while it is the one that this host left, and the refusal while it is not:
 *
 *     open ──► used ──► refused ── accept ──► used
 *       └───────────────►┘
 */
export class OpenedFile implements ChangeSource, AsyncDisposable {
  onChange: () => void = () => {};
  readonly #options: OpenedFileOptions;
  readonly #self: ProcessIdentity;
  readonly #guard: FileGuard | undefined;
  readonly #listeners = new Set<(change: HistoryChange) => void>();
  #parts: FileParts | undefined;
  #refused: { readonly error: OtherFileError; readonly change: HistoryChange } | undefined;
  #changes = 0;

  constructor(options: OpenedFileOptions, self: ProcessIdentity, guard: FileGuard | undefined) {
    this.#options = options;
    this.#self = self;
    this.#guard = guard;
  }

  /** Opens the file, or records why it is refused. Throws SQLite's own errors. */
  open(): void {
    try {
      this.#parts = this.#opened();
    } catch (error) {
      if (!(error instanceof OtherFileError)) throw error;
      this.#refuse(error);
    }
  }

  get isRefused(): boolean {
    return this.#refused !== undefined;
  }

  /** Throws OtherFileError while the file is refused. */
  get parts(): FileParts {
    if (this.#refused) throw this.#refused.error;
    if (!this.#parts) throw new Error('the lock file is not open');
    return this.#parts;
  }

  step<T>(take: (parts: FileParts) => T): T {
    const { parts } = this;
    return this.#watched(() => {
      parts.file.repair();
      return take(parts);
    });
  }

  /** Calls `listener` when the file is refused, or soon if it is refused now; until disposed. */
  onRefused(listener: (change: HistoryChange) => void): Disposable {
    this.#listeners.add(listener);
    const { change } = this.#refused ?? {};
    if (change) queueMicrotask(() => this.#listeners.has(listener) && listener(change));
    return { [Symbol.dispose]: () => this.#listeners.delete(listener) };
  }

  /** Goes on with a refused file as it is, in a new history; false: it was not refused. */
  accept(): boolean {
    if (!this.#refused || !this.#guard) return false;
    this.#parts?.file.close();
    this.#parts = undefined;
    this.#guard.accept();
    this.#parts = this.#opened();
    this.#refused = undefined;
    return true;
  }

  dataVersion(): number {
    return this.#watched(() => {
      this.#guard?.check();
      return this.parts.file.dataVersion();
    });
  }

  state(): StoreState {
    return this.parts.file.state();
  }

  changesAfter(revision: number): readonly StoreChange[] | undefined {
    return this.parts.file.changesAfter(revision);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Steps that are waiting for it answer before.
    await this.#parts?.file.settled().catch(() => {});
    this.#parts?.file.close();
    this.#guard?.[Symbol.dispose]();
  }

  #opened(): FileParts {
    const { path, openWal } = this.#options;
    const file = new LockFile(path, openWal, this.#guard);
    file.onChange = () => this.onChange();
    const sessions = new Sessions(file, this.#self);
    const gates = new Gates(file);
    const queue = new TicketQueue(file, sessions, gates);
    const purge = () => {
      if (sessions.hasOfEarlierBoot()) file.write(() => file.beginBoot());
      if (sessions.hasDead()) file.write((effects) => sessions.dropDead(effects));
    };
    return { file, sessions, gates, queue, purge };
  }

  #watched<T>(step: () => T): T {
    try {
      return step();
    } catch (error) {
      if (error instanceof OtherFileError && !this.#refused) this.#refuse(error);
      throw error;
    }
  }

  #refuse(error: OtherFileError): void {
    this.#changes += 1;
    const change = { number: this.#changes, why: error.message, isRefused: true };
    this.#refused = { error, change };
    for (const listener of [...this.#listeners]) listener(change);
  }
}
