import type { EtcdClient, EtcdMember, MemberState } from '../../../etcd/client.ts';
import { EtcdRefusedError, LateError, within } from '../../../etcd/client.ts';
import type { Condition } from '../../condition.ts';
import { foreignText } from './keys.ts';

/** A member that is this many log entries behind the others is too slow. */
const lagEntries = 2_000;

/** The share of its quota at which a database is nearly full. */
const nearlyFull = 0.8;

/** The person who asks for the status waits for it: no call takes longer, whatever is down. */
export const lookLimitMs = 750;

/** The members of the cluster as they answered, and their names by their numbers. */
export interface SeenMembers {
  readonly members: readonly EtcdMember[];
  readonly names: ReadonlyMap<string, string>;
}

/** Asks all members, and the cluster for their names. Never rejects, and takes less than a second. */
export async function seeMembers(client: EtcdClient): Promise<SeenMembers> {
  const [members, names] = await Promise.all([
    client.members(lookLimitMs),
    within(lookLimitMs, client.memberNames()).catch(() => new Map<string, string>()),
  ]);
  return { members, names };
}

/**
 * Returns the faults of the cluster, as far as they concern the keys below `prefix`; those in
 * `foreign` are not berth's. Never rejects, and takes less than a second.
 */
export async function etcdHealth(
  client: EtcdClient,
  prefix: string,
  foreign: ReadonlySet<string>,
  seen: Promise<SeenMembers>,
): Promise<Condition[]> {
  const [{ members, names }, alarms, refusal] = await Promise.all([
    seen,
    within(lookLimitMs, client.alarms()).catch(() => []),
    within(lookLimitMs, client.range({ key: Buffer.from(prefix), limit: 1 })).then(
      () => undefined,
      (error: Error) => error,
    ),
  ]);
  return [
    ...conditionOfCalls(refusal, members),
    ...alarms.map(({ member, alarm }) => conditionOfAlarm(alarm, names.get(member) ?? member)),
    ...[...foreign].map((key) => error(foreignText(key))),
    ...conditionsOfMembers(members, names),
  ];
}

/** Returns the faults that the members' states show; `names` by member id. */
export function conditionsOfMembers(
  members: readonly EtcdMember[],
  names: ReadonlyMap<string, string>,
): Condition[] {
  const answered: Answered[] = [];
  const conditions: Condition[] = [];
  const ids = new Set(members.flatMap(({ state }) => ('id' in state ? [state.id] : [])));
  const haveAllAnswered = names.size > 0 && [...names.keys()].every((id) => ids.has(id));
  for (const { endpoint, state } of members) {
    if (!('id' in state)) {
      // Reported for the whole cluster.
      if (members.length === 1 || state instanceof EtcdRefusedError) continue;
      const cure = haveAllAnswered
        ? 'all members of the cluster answer elsewhere, so correct the setting "store"'
        : 'start it, or repair the network to it';
      const text = `etcd member ${endpoint} does not answer (${state.message}); ${cure}`;
      conditions.push(warning(text));
    } else {
      const name = names.get(state.id);
      answered.push({ ...state, name: name ? `${name} (${endpoint})` : endpoint });
    }
  }
  return [
    ...conditions,
    ...conditionsOfLeader(answered),
    ...conditionsOfLag(answered),
    ...answered.flatMap(conditionsOfSize),
    ...answered.flatMap(conditionsOfErrors),
    ...conditionsOfVersions(answered),
  ];
}

interface Answered extends MemberState {
  readonly name: string;
}

function conditionOfCalls(refusal: Error | undefined, members: readonly EtcdMember[]): Condition[] {
  if (!refusal) return [];
  if (refusal instanceof EtcdRefusedError) return [error(refusal.message)];
  const endpoints = members.map(({ endpoint }) => endpoint).join(', ');
  if (refusal instanceof LateError && members.some(hasLeader)) {
    const text = `etcd at ${endpoints} is slow (${refusal.message}); give it a faster disk or more processor time, or repair the network to it`;
    return [warning(text)];
  }
  const text = `etcd at ${endpoints} does not answer (${refusal.message}); start it, or repair the network to it`;
  return [error(text)];
}

function hasLeader({ state }: EtcdMember): boolean {
  return 'id' in state && state.leader !== '0';
}

function conditionOfAlarm(alarm: string, name: string): Condition {
  if (alarm === 'NOSPACE') {
    const text = `the database of etcd member ${name} is full (NOSPACE alarm), so volumes can be unmounted and removed, but nothing else; compact it, defragment it, then run "etcdctl alarm disarm"`;
    return error(text);
  }
  if (alarm === 'CORRUPT') {
    const text = `the data of etcd member ${name} differ from the other members'; remove it and add it again with an empty data directory`;
    return error(text);
  }
  return error(`etcd member ${name} has raised the alarm ${alarm}; see its log`);
}

function conditionsOfLeader(members: readonly Answered[]): Condition[] {
  const lost = members.filter(({ leader }) => leader === '0');
  if (lost.length === 0) return [];
  if (lost.length < members.length) {
    const text = (name: string) =>
      `etcd member ${name} has no leader; repair the network between it and the other members`;
    return lost.map(({ name }) => warning(text(name)));
  }
  const text = `etcd has no leader, as ${listed(lost)} can't reach enough other members; start those that are down, or repair the network between them`;
  return [error(text)];
}

function conditionsOfLag(members: readonly Answered[]): Condition[] {
  const first = Math.max(...members.map(({ applied }) => applied));
  return members
    .filter(({ applied }) => first - applied > lagEntries)
    .map(({ name, applied }) =>
      warning(
        `etcd member ${name} is ${first - applied} entries behind the others; give it a faster disk or more processor time`,
      ),
    );
}

function conditionsOfSize(member: Answered): Condition[] {
  const { name, databaseBytes, usedBytes, quotaBytes } = member;
  if (quotaBytes === undefined || databaseBytes < quotaBytes * nearlyFull) return [];
  const percent = Math.round((100 * databaseBytes) / quotaBytes);
  const cure = usedBytes < databaseBytes / 2 ? 'defragment it' : 'compact and defragment it';
  const text = `the database of etcd member ${name} has reached ${percent} % of its quota; ${cure}, and set --auto-compaction-retention`;
  return [warning(text)];
}

/** Returns the members' own errors, except those that alarms and leader already report. */
function conditionsOfErrors({ name, errors }: Answered): Condition[] {
  return errors
    .filter((text) => !/no leader|alarm:/i.test(text))
    .map((text) => warning(`etcd member ${name} reports "${text}"; see its log`));
}

function conditionsOfVersions(members: readonly Answered[]): Condition[] {
  return [...new Set(members.map(({ version }) => version))].flatMap((version) => {
    const faults = faultsOf(version);
    if (faults.length === 0) return [];
    const who = listed(members.filter((member) => member.version === version));
    const text = `etcd ${version} on ${who} ${faults.join(', ')}; upgrade to ${safeRelease} or later`;
    return [warning(text)];
  });
}

/** A release of 3.5 with all the fixes below; later minor releases are listed separately. */
const safeRelease = '3.5.23';

/** Known faults, with the patch release of each fix. Minor releases not listed are not affected. */
const knownFaults: readonly { readonly fixedIn: Record<string, number>; readonly text: string }[] =
  [
    {
      fixedIn: { '3.4': 31, '3.5': 13 },
      text: 'can end sessions that were renewed in time, when a frozen leader comes back',
    },
    {
      fixedIn: { '3.4': 38, '3.5': 23, '3.6': 5 },
      text: 'can confirm sessions that it has ended',
    },
    {
      fixedIn: { '3.4': 36, '3.5': 18 },
      text: 'can lose events when it compacts',
    },
  ];

/** Returns the known faults of a release that concern locks. */
export function faultsOf(version: string): string[] {
  const [major = 0, minor = 0, patch = 0] = version.split(/[.-]/).map(Number);
  const isOld = major < 3 || (major === 3 && minor <= 4);
  const faults = knownFaults.filter(({ fixedIn }) => {
    const from = fixedIn[`${major}.${minor}`];
    return from === undefined ? isOld : patch < from;
  });
  return [...(isOld ? ['no longer receives fixes'] : []), ...faults.map(({ text }) => text)];
}

function listed(members: readonly Answered[]): string {
  return members.map(({ name }) => name).join(', ');
}

function warning(message: string): Condition {
  return { severity: 'warning', message };
}

function error(message: string): Condition {
  return { severity: 'error', message };
}
