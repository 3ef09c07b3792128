import { get as getPlain } from 'node:http';
import { get as getSecure } from 'node:https';
import type { EtcdTls } from './target.ts';

/** How one member of the cluster is, as it says itself. */
export interface EtcdMember {
  /** `host:port`, as it was configured. */
  readonly endpoint: string;
  /** What it answered, or why it did not. */
  readonly state: MemberState | Error;
}

export interface MemberState {
  /** Its own number; that of the member which it takes for the leader, `0` when it has none. */
  readonly id: string;
  readonly leader: string;
  readonly version: string;
  readonly databaseBytes: number;
  /** What of the database is not free space within the file. */
  readonly usedBytes: number;
  /** Undefined when it does not tell. */
  readonly quotaBytes: number | undefined;
  /** How many entries of the cluster's log it has applied. */
  readonly applied: number;
  /** What it complains of. */
  readonly errors: readonly string[];
}

/**
 * The size at which a member stops to take writes. Its API does not tell, but its metrics do, when
 * they are served where its clients are.
 */
export async function quotaBytes(
  endpoint: string,
  tls: EtcdTls | undefined,
  timeoutMs: number,
): Promise<number | undefined> {
  const text = await metrics(endpoint, tls, timeoutMs).catch(() => ''); // Not told is not wrong.
  const line = /^etcd_server_quota_backend_bytes (\S+)$/m.exec(text);
  const bytes = Number(line?.[1]);
  return bytes > 0 ? bytes : undefined;
}

function metrics(endpoint: string, tls: EtcdTls | undefined, timeoutMs: number): Promise<string> {
  const answer = Promise.withResolvers<string>();
  const signal = AbortSignal.timeout(timeoutMs);
  const options = { signal, agent: false, ...tls };
  const url = `${tls ? 'https' : 'http'}://${endpoint}/metrics`;
  const request = (tls ? getSecure : getPlain)(url, options, (response) => {
    response.setEncoding('utf8');
    let text = '';
    response.on('data', (part: string) => {
      text += part;
    });
    response.on('end', () => answer.resolve(text));
    response.on('error', answer.reject);
  });
  request.on('error', answer.reject);
  return answer.promise;
}
