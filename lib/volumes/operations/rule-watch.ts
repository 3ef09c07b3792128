import createDebug from 'debug';
import type { MirrorEvent, StoreMirror } from '../../lock/engine/store-mirror.ts';
import type { KeyedMutex } from '../mounts/keyed-mutex.ts';
import type { Mounts } from '../mounts/mounts.ts';
import type { Catalog } from '../records/catalog.ts';
import { recordKey } from '../records/catalog.ts';

const log = createDebug('berth:mount');

export interface RuleWatchOptions {
  readonly mirror: Pick<StoreMirror, 'listen'>;
  readonly catalog: Pick<Catalog, 'get'>;
  readonly mounts: Pick<Mounts, 'get' | 'rows' | 'changeRules' | 'lockState'>;
  readonly mutex: KeyedMutex;
}

/**
 * Brings the rules of the volumes mounted on this host in step with their records, which any host may
 * change: at the start, and at each change.
 */
export class RuleWatch {
  readonly #options: RuleWatchOptions;

  constructor(options: RuleWatchOptions) {
    this.#options = options;
  }

  /** Follows the mirror until disposed. */
  follow(): Disposable {
    return this.#options.mirror.listen((event) => this.#note(event));
  }

  #note(event: MirrorEvent): void {
    if (event.kind !== 'change' && event.kind !== 'reset') return;
    const { mounts } = this.#options;
    const keys = event.kind === 'change' && new Set(event.change.records.map(({ key }) => key));
    if (keys && keys.size === 0) return;
    for (const { volume } of mounts.rows()) {
      if (!keys || keys.has(recordKey(volume))) void this.#follow(volume);
    }
  }

  async #follow(volume: string): Promise<void> {
    const { mounts, mutex, catalog } = this.#options;
    try {
      await mutex.run(volume, async () => {
        const row = mounts.get(volume);
        const record = row && catalog.get(volume);
        // The record of a volume that this host has lost is another host's matter.
        if (!record || mounts.lockState(volume) === 'lost') return;
        // A mount in one mode of the lock never gets the other mode.
        if ((row.access === 'shared') !== (record.access === 'shared')) return;
        await mounts.changeRules(row, record);
      });
    } catch (error) {
      log('volume=%s its rules could not be read: %s', volume, error);
    }
  }
}
