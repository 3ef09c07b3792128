import type { ICompare, IKeyValue, IResponseOp } from '../../../etcd/client.ts';
import { EtcdCallError, EtcdRefusedError, LeaseGoneError } from '../../../etcd/client.ts';
import { SessionGoneError, StoreRefusedError, StoreUnavailableError } from '../../errors.ts';

/** The most operations in one Txn, in its longest list (etcd's default of --max-txn-ops). */
export const maxTxnOps = 128;

/** Compares that there is no key, or that a range is empty. */
export function isAbsent(key: Buffer | { key: Buffer; range_end: Buffer }): ICompare {
  const range = Buffer.isBuffer(key) ? { key } : key;
  return { target: 'Create', result: 'Equal', create_revision: 0, ...range };
}

/** Compares that the last change of a key was at a revision; 0: there is no key. */
export function hasModRevision(key: Buffer, revision: number): ICompare {
  return { target: 'Mod', result: 'Equal', key, mod_revision: revision };
}

/** Compares that a key still has the value that was written at `token`. */
export function hasToken(key: Buffer, token: number): ICompare {
  return { target: 'Create', result: 'Equal', key, create_revision: token };
}

/** Compares that no key, or none of a range, was written after a revision; also true if there is no such key. */
export function notAfter(
  key: Buffer | { key: Buffer; range_end: Buffer },
  revision: number,
): ICompare {
  const range = Buffer.isBuffer(key) ? { key } : key;
  return { target: 'Mod', result: 'Less', mod_revision: revision + 1, ...range };
}

/** Returns all keys that the ranges of a Txn have found, also in nested Txns. */
export function foundIn(responses: readonly Partial<IResponseOp>[]): IKeyValue[] {
  return responses.flatMap(
    ({ response_range, response_txn }) =>
      response_range?.kvs ?? (response_txn ? foundIn(response_txn.responses) : []),
  );
}

/** A key below the prefix holds a value that berth did not write. */
export class ForeignValueError extends Error {
  override readonly name = 'ForeignValueError';
}

/** Runs a call to etcd and converts its failure to an error of the port. */
export async function calling<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    if (error instanceof LeaseGoneError) {
      throw new SessionGoneError(error.message, { cause: error });
    }
    if (error instanceof EtcdRefusedError) {
      throw new StoreRefusedError(error.message, { cause: error });
    }
    if (error instanceof EtcdCallError) {
      throw new StoreUnavailableError(`etcd does not answer: ${error.message}`, { cause: error });
    }
    if (error instanceof ForeignValueError) {
      throw new StoreUnavailableError(error.message, { cause: error });
    }
    throw error;
  }
}
