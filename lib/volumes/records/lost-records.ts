import type { Condition } from '../../lock/condition.ts';
import type { StoreMirror } from '../../lock/engine/store-mirror.ts';
import { UnavailableError } from '../errors.ts';
import type { EventSink } from '../events.ts';
import { someNames } from '../some-names.ts';
import type { Catalog } from './catalog.ts';
import { isRecordKey, nameInKey } from './catalog.ts';
import { clusterKey } from './cluster.ts';
import type { LostRecord } from './remembered-text.ts';

export interface LostRecordsOptions {
  readonly mirror: Pick<StoreMirror, 'hasBeenLive' | 'history' | 'record' | 'listen'>;
  readonly catalog: Pick<Catalog, 'isLost'>;
  readonly remembered: { readonly lostRecords: ReadonlyMap<string, LostRecord> };
}

/** The advice on lost records. */
export const whatToDo =
  'put back what this host remembers: berth doctor --restore-records; or go on without it: berth doctor ' +
  '--forget-records (docs/store-history.md#when-records-are-missing)';

/**
 * The records that this host remembers and the store lacks, because it was wiped, partly deleted, or put back
 * to an older state. Until a person decides, they are listed, and what they name is not changed. While the
 * record of the cluster is missing, nothing is.
 */
export class LostRecords {
  readonly #options: LostRecordsOptions;
  #wereMissing = false;

  constructor(options: LostRecordsOptions) {
    this.#options = options;
  }

  /** The records, by key. */
  get records(): ReadonlyMap<string, LostRecord> {
    return this.#options.remembered.lostRecords;
  }

  /** True for a volume whose record the store has lost: only this host's memory answers for it. */
  has(volume: string): boolean {
    return this.#options.catalog.isLost(volume);
  }

  /** True: the store had a record of the cluster, and has none. */
  get isWiped(): boolean {
    const { mirror } = this.#options;
    if (!mirror.hasBeenLive || mirror.record(clusterKey)) return false;
    return this.records.size > 0 || mirror.history?.isFirst === false;
  }

  /** Says why no record of the cluster may be written; undefined: there may be one, or there is one. */
  clusterTrouble(): string | undefined {
    if (!this.#options.mirror.hasBeenLive)
      return 'it is not known yet which cluster this is, because the store has not answered';
    if (!this.isWiped) return undefined;
    const lost = this.#lostText();
    const next =
      lost === undefined
        ? 'this host remembers none; run "berth doctor --restore-records" on a host that was here before, or go ' +
          'on as a new cluster with "berth doctor --forget-records"'
        : `nothing is changed until you ${whatToDo}; this host remembers ${lost}`;
    return `the store was wiped, or what berth keeps there was deleted: the record of the cluster is missing; ${next}`;
  }

  /** Throws UnavailableError while nothing may be changed, or if the store lacks the record of a volume. */
  refuse(...volumes: readonly string[]): void {
    const trouble = this.isWiped ? this.clusterTrouble() : undefined;
    if (trouble !== undefined) throw new UnavailableError(trouble);
    const name = volumes.find((each) => this.has(each));
    if (name === undefined) return;
    throw new UnavailableError(
      `the store has lost the record of volume ${name}, which this host remembers; ${whatToDo}`,
    );
  }

  conditions(): Condition[] {
    const message = (this.isWiped ? this.clusterTrouble() : undefined) ?? this.#lossText();
    return message === undefined ? [] : [{ severity: 'error', message }];
  }

  /** Records an event each time that records begin to be missing. */
  follow(events: EventSink): Disposable {
    const look = () => {
      const message = this.#lossText();
      const isNews = message !== undefined && !this.#wereMissing;
      this.#wereMissing = message !== undefined;
      if (isNews) events.record({ severity: 'error', kind: 'records-lost', volume: '', message });
    };
    look();
    return this.#options.mirror.listen(look);
  }

  #lossText(): string | undefined {
    // Before the store's first answer, another host may have put back what this one's file calls lost.
    const lost = this.#options.mirror.hasBeenLive ? this.#lostText() : undefined;
    if (lost === undefined) return undefined;
    return `the store has lost records that this host remembers (${lost}); ${whatToDo}`;
  }

  #lostText(): string | undefined {
    const keys = [...this.records.keys()];
    if (keys.length === 0) return undefined;
    const names = keys.filter(isRecordKey).map(nameInKey);
    const others = keys.length - names.length;
    return [
      ...(names.length > 0 ? [`${counted(names.length, 'volume')}: ${someNames(names)}`] : []),
      ...(others > 0 ? [counted(others, 'other record')] : []),
    ].join('; ');
  }
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`;
}
