import type { EtcdTls } from './target.ts';

// An `import` of these by name loads more than they need (lib/linux/unix-call.ts).
const http = process.getBuiltinModule('node:http');
const https = process.getBuiltinModule('node:https');

/** The state of one member of the cluster, as the member reports it. */
export interface EtcdMember {
  /** The configured `host:port`. */
  readonly endpoint: string;
  /** The member's answer, or the error that prevented it. */
  readonly state: MemberState | Error;
}

export interface MemberState {
  /** The member's number. */
  readonly id: string;
  /** The number of the leader that the member follows; `0` without a leader. */
  readonly leader: string;
  readonly version: string;
  readonly databaseBytes: number;
  /** The part of the database file that is in use; the rest is free space within it. */
  readonly usedBytes: number;
  /** Undefined when the member does not serve its metrics to clients. */
  readonly quotaBytes: number | undefined;
  /** The number of entries of the cluster's log that the member has applied. */
  readonly applied: number;
  /** The member's own complaints, such as `NOSPACE`. */
  readonly errors: readonly string[];
}

/**
 * Returns the size at which a member refuses writes. etcd's API does not report it; its metrics do,
 * if the member serves them on the port of its clients.
 */
export async function quotaBytes(
  endpoint: string,
  tls: EtcdTls | undefined,
  timeoutMs: number,
): Promise<number | undefined> {
  const text = await metrics(endpoint, tls, timeoutMs).catch(() => ''); // Unknown, which is no fault.
  const line = /^etcd_server_quota_backend_bytes (\S+)$/m.exec(text);
  const bytes = Number(line?.[1]);
  return bytes > 0 ? bytes : undefined;
}

function metrics(endpoint: string, tls: EtcdTls | undefined, timeoutMs: number): Promise<string> {
  const answer = Promise.withResolvers<string>();
  const signal = AbortSignal.timeout(timeoutMs);
  const options = { signal, agent: false, ...tls };
  const url = `${tls ? 'https' : 'http'}://${endpoint}/metrics`;
  const request = (tls ? https : http).get(url, options, (response) => {
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
