import type { Command } from 'commander';
import type { MemberReply, StatusReply } from '../../plugin/admin/api/status.ts';
import { humanSize } from '../../plugin/http/human-size.ts';
import { withCommonOptions } from '../common-options.ts';
import type { CommonOptions, Run } from '../context.ts';
import { exitCodes } from '../exit-code.ts';
import { facts, table } from '../format.ts';

export function statusCommand(root: Command, run: Run): void {
  withCommonOptions(root.command('status'))
    .description(
      'show what this host serves and what is wrong; exit code 5 if the store does not answer',
    )
    .action((options: CommonOptions) =>
      run(options, undefined, async ({ client, print }) => {
        const status = await client.get<StatusReply>('/status');
        print(status, statusText);
        return status.store.reachable ? exitCodes.ok : exitCodes.unavailable;
      }),
    );
}

function statusText(reply: StatusReply): string {
  const { host, store, volumes, locks, mounts, conditions } = reply;
  const summary = facts({
    host,
    berth: reply.release,
    store: `${store.kind}, ${store.reachable ? 'reachable' : 'NOT REACHABLE'}`,
    volumes: `${volumes ?? 'not known'}, ${mounts.length} mounted here`,
    locks: `${locks.held} held, ${locks.waiting} waiting`,
  });
  const parts = [summary];
  if (store.members) parts.push(membersTable(store.members));
  if (conditions.length > 0) {
    parts.push(conditions.map(({ severity, message }) => `${severity}: ${message}\n`).join(''));
  }
  if (mounts.length > 0) {
    const rows = mounts.map(({ volume, mountpoint, lock, fencing }) => [
      ...[volume, mountpoint, lock],
      fencing?.level ?? '-',
    ]);
    parts.push(table(['VOLUME', 'MOUNTPOINT', 'LOCK', 'FENCING'], rows));
    const unsafe = mounts.filter(({ fencing }) => fencing && fencing.level !== 'storage');
    for (const [means, volumes] of Map.groupBy(unsafe, ({ fencing }) => fencing?.means ?? '')) {
      parts.push(`fencing of ${volumes.map(({ volume }) => volume).join(', ')}: ${means}\n`);
    }
  }
  return parts.join('\n');
}

/** Returns one line per server of the store, whichever of them answer. */
function membersTable(members: readonly MemberReply[]): string {
  const rows = members.map((member) => {
    const { endpoint, name, version = '-' } = member;
    return [
      name ? `${endpoint} (${name})` : endpoint,
      memberState(member),
      version,
      sizeOf(member),
    ];
  });
  return table(['MEMBER', 'STATE', 'VERSION', 'DATABASE'], rows);
}

function memberState({ reachable, why, role, leader }: MemberReply): string {
  if (!reachable) return `NOT REACHABLE: ${why}`;
  if (role === 'no leader') return 'reachable, NO LEADER';
  return role === 'leader' ? 'leader' : `follows ${leader}`;
}

function sizeOf({ databaseBytes, quotaBytes }: MemberReply): string {
  if (databaseBytes === undefined) return '-';
  const size = humanSize(databaseBytes);
  return quotaBytes === undefined ? size : `${size} of ${humanSize(quotaBytes)}`;
}
