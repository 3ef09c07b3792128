import type { EtcdMember, MemberState } from '../../../etcd/client.ts';
import { EtcdRefusedError } from '../../../etcd/client.ts';
import type { StoreMember } from '../ticket-store.ts';

/** Describes each member in a few words, for the person who asks for the status; `names` by member number. */
export function describeMembers(
  members: readonly EtcdMember[],
  names: ReadonlyMap<string, string>,
): StoreMember[] {
  const answered = members.flatMap(({ endpoint, state }) =>
    'id' in state ? [{ endpoint, state }] : [],
  );
  const nameOf = (id: string) =>
    names.get(id) || answered.find(({ state }) => state.id === id)?.endpoint || id;
  return members.map(({ endpoint, state }) => {
    if (!('id' in state)) return { endpoint, reachable: false, why: shortReason(state) };
    const name = names.get(state.id);
    return {
      endpoint,
      ...(name && { name }),
      reachable: true,
      ...roleOf(state, nameOf),
      version: state.version,
      databaseBytes: state.databaseBytes,
      ...(state.quotaBytes !== undefined && { quotaBytes: state.quotaBytes }),
    };
  });
}

function roleOf(
  { id, leader }: MemberState,
  nameOf: (id: string) => string,
): Pick<StoreMember, 'role' | 'leader'> {
  if (leader === '0') return { role: 'no leader' };
  return id === leader ? { role: 'leader' } : { role: 'follower', leader: nameOf(leader) };
}

/** The beginning of a reason that is not known here. */
const maxReason = 60;

/** Returns why a member can't be reached, in one short line; the conditions have the whole message. */
export function shortReason(error: Error): string {
  const { message } = error;
  if (/no answer within/.test(message)) return message;
  const known = reasons.find(([pattern]) => pattern.test(message));
  if (known) return known[1];
  if (error instanceof EtcdRefusedError) return "etcd refuses berth's user";
  const [line = ''] = message.split('\n');
  return line.length > maxReason ? `${line.slice(0, maxReason)}…` : line;
}

/** The messages of gRPC and of Node's sockets. */
const reasons: readonly (readonly [RegExp, string])[] = [
  [/ECONNREFUSED/, 'connection refused'],
  [/EHOSTUNREACH|ENETUNREACH/, 'no route to the host'],
  [/can be resolved to an address/, 'its name has no address'],
  [/match cert|altnames|ALTNAME/i, 'its certificate is for another name'],
  [/certificate/i, 'its certificate is not trusted'],
  [/Deadline exceeded/i, 'no answer in time'],
];
