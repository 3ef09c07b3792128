import type { EtcdClient, ICompare, IKeyValue } from '../../../etcd/client.ts';
import type { HistoryOptions } from '../history-source.ts';
import { StoreHistory } from '../store-history.ts';
import type { Requirement } from './batches.ts';
import type { EtcdKeys } from './keys.ts';
import type { FoundEtcdHistory } from './stored-history.ts';
import { StoredHistory } from './stored-history.ts';
import { isAbsent } from './txn.ts';

/**
 * The history of etcd. A suspicion is a broken connection, a missing answer, or a header that does not fit
 * (`EtcdHeaders`); a look is one linearizable read and one call for the length of the log.
 */
export class EtcdHistory extends StoreHistory<FoundEtcdHistory> {
  readonly #keys: EtcdKeys;

  constructor(client: EtcdClient, keys: EtcdKeys, options: HistoryOptions) {
    super(new StoredHistory(client, keys), options);
    this.#keys = keys;
  }

  /** Requires that a request may be granted. */
  isOpen(proof: number | undefined): Requirement {
    return { name: `quarantine ${proof} ${this.id}`, compare: this.mayBeGranted(proof) };
  }

  /** Returns the condition under which a request may be granted; throws for a proof that is too old. */
  mayBeGranted(proof: number | undefined): ICompare {
    const key = this.#keys.quarantineKey;
    if (proof === undefined) return isAbsent(key);
    this.requireLast(proof);
    return { target: 'Value', result: 'Equal', key, value: Buffer.from(this.id ?? '') };
  }

  /** Throws unless the quarantine's key, found or not, lets the request be granted. */
  requireOpenIn(found: readonly IKeyValue[], proof: number | undefined): void {
    const text = this.#keys.quarantineKey.toString();
    this.requireOpen(
      found.some(({ key }) => key.toString() === text),
      proof,
    );
  }
}
