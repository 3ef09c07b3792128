import type { ICompare, IKeyValue, IResponseOp } from '../../../etcd/client.ts';
import { EtcdCallError, EtcdRefusedError, LeaseGoneError } from '../../../etcd/client.ts';
import { SessionGoneError, StoreRefusedError, StoreUnavailableError } from '../../errors.ts';

/** How many operations etcd takes in one Txn by default, in its longest list (--max-txn-ops). */
export const maxTxnOps = 128;

/** There is nothing under a key, or in a range. */
export function isAbsent(key: Buffer | { key: Buffer; range_end: Buffer }): ICompare {
  const range = Buffer.isBuffer(key) ? { key } : key;
  return { target: 'Create', result: 'Equal', create_revision: 0, ...range };
}

/** What was written at `token` still stands under a key. */
export function hasToken(key: Buffer, token: number): ICompare {
  return { target: 'Create', result: 'Equal', key, create_revision: token };
}

/** What the ranges of a Txn found, also those of the Txns within it. */
export function foundIn(responses: readonly Partial<IResponseOp>[]): IKeyValue[] {
  return responses.flatMap(
    ({ response_range, response_txn }) =>
      response_range?.kvs ?? (response_txn ? foundIn(response_txn.responses) : []),
  );
}

/** A key below the prefix holds what no berth has written. */
export class ForeignValueError extends Error {
  override readonly name = 'ForeignValueError';
}

/** Runs a call to etcd and names its failure in the port's words. */
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
