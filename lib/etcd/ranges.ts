import type { EtcdClient, IKeyValue } from './client.ts';
import { EtcdCallError, isCompacted, isLate } from './errors.ts';
import { growingPauses } from './growing-pauses.ts';

/** Returns the half-open range of all keys that start with `prefix`. */
export function prefixRange(prefix: string): { key: Buffer; range_end: Buffer } {
  const key = Buffer.from(prefix);
  const end = Buffer.from(key);
  // Prefixes end in '/', so the last byte can be raised.
  end[end.length - 1] = (end[end.length - 1] ?? 0) + 1;
  return { key, range_end: end };
}

/** The number of keys of a page: at first, and when etcd is too slow for more. */
const mostKeys = 1_000;
const leastKeys = 50;

/** The longest time that etcd gets for one page. */
const longestPageMs = 30_000;

export interface ReadOptions {
  /**
   * Present: a page that etcd did not answer is asked for again, after a random pause that grows, until
   * this aborts. Absent: the first failure ends the reading.
   */
  readonly until?: AbortSignal;
}

/**
 * Reads every key below `prefix` at one revision, in pages. What has been read is kept when a page fails:
 * a page that came too late becomes smaller and gets more time, so that the reading ends however slow etcd
 * is. Rejects when etcd refuses, when it has compacted the revision, and with the reason of `until`.
 */
export async function readAll(
  client: EtcdClient,
  prefix: string,
  { until }: ReadOptions = {},
): Promise<{ revision: number; kvs: IKeyValue[] }> {
  const { key: first, range_end } = prefixRange(prefix);
  const kvs: IKeyValue[] = [];
  let key = first;
  let revision = 0;
  let limit = mostKeys;
  let timeoutMs = client.callTimeoutMs;
  const pauses = growingPauses();
  for (;;) {
    try {
      const page = await client.range({ key, range_end, limit, revision }, timeoutMs);
      revision ||= Number(page.header.revision);
      kvs.push(...page.kvs);
      const last = page.kvs.at(-1);
      if (!page.more || last === undefined) return { revision, kvs };
      key = Buffer.concat([last.key, Buffer.from([0])]);
    } catch (error) {
      if (!until || !(error instanceof EtcdCallError) || isCompacted(error)) throw error;
      if (isLate(error)) {
        limit = Math.max(leastKeys, Math.ceil(limit / 2));
        timeoutMs = Math.min(longestPageMs, 2 * timeoutMs);
      }
      await pauses.next(until);
    }
  }
}
