import type { BigIntStats } from 'node:fs';
import { closeSync, fstatSync, openSync, readFileSync, statSync } from 'node:fs';
import { hasCode } from '../../../linux/error-code.ts';
import { replaceFile } from '../../../linux/state-file.ts';
import type { ChangeSource } from '../change-feed.ts';
import type { KeptState } from '../kept-state.ts';
import { changesAfter, emptyState } from '../kept-state.ts';
import { TicketModel } from '../ticket-model.ts';
import type { StoreChange, StoreState } from '../ticket-store.ts';
import { currentFormat, parseState, stateText } from './state-text.ts';

/** One version of the file, kept open so that no later version can get its inode. */
interface Version {
  readonly descriptor: number;
  readonly stats: BigIntStats;
  readonly format: number;
  readonly state: KeptState;
}

/**
 * The file with the whole state. It is replaced as a whole, so a reader always finds the last
 * version, complete. Methods throw the system's errors.
 */
export class StateFile implements ChangeSource, Disposable {
  readonly #path: string;
  #version: Version | undefined;
  #versions = 0;
  #view: { readonly state: KeptState; readonly model: TicketModel } | undefined;
  onChange: () => void = () => {};

  constructor(path: string) {
    this.#path = path;
  }

  /** Returns the file's present state; the empty state if there is no file yet. */
  current(): KeptState {
    const stats = this.#stats();
    if (stats === undefined) return emptyState;
    const version = this.#version;
    if (version?.stats.ino === stats.ino && version.stats.dev === stats.dev) return version.state;
    return this.#adopt((file) => parseState(readFileSync(file, 'utf8'), this.#path));
  }

  /** True if the file is there and processes of berth 0.1.0 leave it alone. */
  hasCurrentFormat(): boolean {
    this.current();
    return this.#version?.format === currentFormat;
  }

  /** Returns the present state as a model, for steps that only read. */
  model(): TicketModel {
    const state = this.current();
    if (this.#view?.state !== state) {
      this.#view = { state, model: new TicketModel(() => {}, state) };
    }
    return this.#view.model;
  }

  /** Replaces the file, which is then on disk. The caller has the turn. */
  async replace(state: KeptState): Promise<void> {
    await replaceFile(this.#path, stateText(state));
    this.#adopt(() => ({ format: currentFormat, state }));
  }

  dataVersion(): number {
    this.current();
    return this.#versions;
  }

  state(): StoreState {
    const { revision, tickets, records, gates } = this.current();
    return { revision, tickets, records, gates };
  }

  changesAfter(revision: number): readonly StoreChange[] | undefined {
    return changesAfter(this.current(), revision);
  }

  [Symbol.dispose](): void {
    if (this.#version !== undefined) closeSync(this.#version.descriptor);
    this.#version = undefined;
  }

  /** Returns undefined if there is no file and there was none before. */
  #stats(): BigIntStats | undefined {
    try {
      return statSync(this.#path, { bigint: true });
    } catch (error) {
      if (this.#version === undefined && hasCode(error, 'ENOENT')) return undefined;
      throw error;
    }
  }

  #adopt(read: (descriptor: number) => Pick<Version, 'format' | 'state'>): KeptState {
    const descriptor = openSync(this.#path, 'r');
    try {
      const stats = fstatSync(descriptor, { bigint: true });
      const content = read(descriptor);
      this[Symbol.dispose]();
      this.#version = { descriptor, stats, ...content };
      this.#versions += 1;
      return content.state;
    } catch (error) {
      closeSync(descriptor);
      throw error;
    }
  }
}
