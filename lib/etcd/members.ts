import type { MemberList } from './member-list.ts';
import type { EtcdTls } from './tls.ts';

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
  /** The number of its cluster. */
  readonly cluster: string;
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
 * Asks who is at each place where a member may be. A member that answers at a configured place is not named again for
 * a place that was learnt. Never rejects.
 */
export async function askAll(
  list: MemberList,
  ask: (endpoint: string) => Promise<MemberState>,
): Promise<EtcdMember[]> {
  const at = async (endpoint: string) => ({
    endpoint,
    state: await ask(endpoint).catch((error: Error) => error),
  });
  const [configured, learnt] = await Promise.all([
    Promise.all(list.configured.map(at)),
    Promise.all(list.learnt.map(async ({ id, endpoint }) => ({ id, ...(await at(endpoint)) }))),
  ]);
  const seen = new Set(configured.flatMap(({ state }) => ('id' in state ? [state.id] : [])));
  const others = Map.groupBy(
    learnt.filter(({ id }) => !seen.has(id)),
    ({ id }) => id,
  );
  // A member may advertise several addresses.
  const ofOthers = [...others.values()].flatMap(
    (places) => places.find(({ state }) => 'id' in state) ?? places.slice(0, 1),
  );
  return [...configured, ...ofOthers.map(({ endpoint, state }) => ({ endpoint, state }))];
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
