import { setTimeout as pause } from 'node:timers/promises';
import { EtcdCallError } from './errors.ts';

/** No answer came within the limit of `within`. */
export class LateError extends EtcdCallError {}

/**
 * Resolves as `work` does, or rejects LateError after `limitMs`. A call has a deadline of its own, but may be
 * made twice, after a login that takes as long.
 */
export async function within<T>(limitMs: number, work: Promise<T>): Promise<T> {
  const ended = new AbortController();
  const late = pause(limitMs, undefined, { ref: false, signal: ended.signal }).then(() => {
    throw new LateError(`no answer within ${limitMs / 1000} s`);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    late.catch(() => {}); // It is of no use after the work has ended.
    ended.abort();
  }
}
