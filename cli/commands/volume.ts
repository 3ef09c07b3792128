import type { Command } from 'commander';
import type { HolderReply } from '../../plugin/admin/api/locks.ts';
import type {
  RulesReply,
  UnreadableReply,
  VolumeDetailReply,
  VolumeReply,
  VolumesReply,
} from '../../plugin/admin/api/volumes.ts';
import { humanSize } from '../../plugin/http/human-size.ts';
import { path } from '../admin-client.ts';
import { withCommonOptions } from '../common-options.ts';
import type { CommonOptions, Run } from '../context.ts';
import { facts, gateText, holderText, since, table } from '../format.ts';
import { followWork } from '../long-work.ts';
import type { Given } from '../option-values.ts';
import { collectOptions } from '../option-values.ts';
import { lastUseCell, lastUseText, pruneCommand } from './prune.ts';
import { listTrash, trashCommands } from './trash.ts';
import { volumeNameCommands } from './volume-names.ts';

export function volumeCommands(root: Command, run: Run): void {
  const group = root
    .command('volume')
    .description('create, list, inspect, change and remove volumes');
  volumeNameCommands(group, run);
  withCommonOptions(group.command('ls'))
    .option('--trash', 'list the removed volumes that the trash keeps')
    .description('list the volumes and who holds them')
    .action((options: ListOptions) =>
      run(options, undefined, async (context) => {
        if (options.trash) return listTrash(context);
        const { client, print } = context;
        const { volumes, unreadable = [] } = await client.get<VolumesReply>('/volumes');
        print([...volumes, ...unreadable.map(marked)], () => volumeTable(volumes, unreadable));
        return undefined;
      }),
    );
  withCommonOptions(group.command('resize'))
    .argument('<volume>')
    .argument('<size>', 'the new size, such as 20G; a volume can only become larger')
    .description('make a volume larger, also while containers use it on this host')
    .action((volume: string, size: string, options: CommonOptions) =>
      run(options, volume, async (context) => {
        const steps = context.client.work('POST', path`/volumes/${volume}/resize`, { size });
        await followWork(context, steps);
        const { options: now } = await context.client.get<VolumeReply>(path`/volumes/${volume}`);
        context.print({ volume, size: now.size }, () => `${volume} has ${sizeText(now)} now\n`);
        return undefined;
      }),
    );
  withCommonOptions(group.command('inspect'))
    .argument('<volume>')
    .description('show all properties of a volume')
    .action((volume: string, options: CommonOptions) =>
      run(options, volume, async ({ client, print }) => {
        print(await client.get<VolumeDetailReply>(path`/volumes/${volume}`), volumeText);
        return undefined;
      }),
    );
  withCommonOptions(group.command('set'))
    .argument('<volume>')
    .argument(
      '<option=value...>',
      'access=, failover=, on-lost=, protect=, keep= or mount-options=',
      collectOptions,
    )
    .description('change options of a volume')
    .action((volume: string, given: Given, options: CommonOptions) =>
      run(options, volume, async (context) => {
        const at = path`/volumes/${volume}/options`;
        const steps = context.client.work<{ rules: RulesReply }>('POST', at, { options: given });
        const done = await followWork(context, steps);
        context.print(done?.rules, (rules) => (rules ? `${volume}: ${rulesText(rules)}\n` : ''));
        return undefined;
      }),
    );
  trashCommands(group, run);
  pruneCommand(group, run);
}

interface ListOptions extends CommonOptions {
  readonly trash?: boolean;
}

function rulesText({ access, failover, onLost, protect, options }: RulesReply): string {
  const rules = { access, failover, 'on-lost': onLost, protect: protect ? 'yes' : 'no' };
  return Object.entries({ ...rules, ...options })
    .map(([name, value]) => `${name}=${value}`)
    .join(' ');
}

/** The JSON of a volume of which only the name is known: it can't be taken for another's. */
function marked(unreadable: UnreadableReply) {
  return { ...unreadable, unreadable: true };
}

function volumeTable(
  volumes: readonly VolumeReply[],
  unreadable: readonly UnreadableReply[],
): string {
  const headers = [
    'NAME',
    'DRIVER',
    'ACCESS',
    'FENCING',
    'SIZE',
    'HELD BY',
    'WAITING',
    'SNAPSHOTS',
    'LAST USED',
  ];
  const rows = volumes.map((volume) => [
    volume.name,
    volume.driver,
    volume.access,
    // A daemon of an earlier release says nothing about it.
    volume.fencing?.level ?? '-',
    sizeText(volume.options) ?? '-',
    volume.holders.map(briefHolder).join(', ') || '-',
    String(volume.waiting.length),
    String(volume.snapshots.length),
    lastUseCell(volume.lastUse),
  ]);
  const lost = volumes.filter((volume) => volume.lost).map(({ name }) => name);
  const unknown = unreadable.map(({ name, key }) => [name ?? key, 'UNREADABLE']);
  const notes = unreadable.map(({ name, key, why }) => `${name ?? key} can't be used: ${why}\n`);
  if (lost.length > 0) {
    notes.push(
      `the store has lost the records of: ${lost.join(', ')}; this is what this host remembers\n`,
    );
  }
  const advice = notes.length === 0 ? '' : 'see: berth doctor\n';
  return [table(headers, [...rows, ...unknown]), ...notes, advice].join('');
}

function volumeText(volume: VolumeDetailReply): string {
  const { usage, usageError, mounted, snapshots, options } = volume;
  const lines = facts({
    name: volume.name,
    record: volume.lost ? 'lost by the store: this is what this host remembers' : undefined,
    driver: volume.driver,
    access: volume.access,
    failover: volume.failover,
    'on lost': volume.onLost,
    protected: volume.protect ? 'yes' : undefined,
    fencing: fencingText(volume.fencing),
    size: sizeText(options),
    used: usage ? humanSize(usage.usedBytes) : (usageError ?? '-'),
    options: Object.entries(options)
      .map(([name, value]) => `${name}=${value}`)
      .join(' '),
    from: volume.from && `${volume.from}${volume.copyKind === 'live' ? liveText : ''}`,
    created: `${since(volume.createdAt)} on ${volume.createdBy}`,
    'last used': lastUseText(volume.lastUse),
    'mounted here': mounted && `${mounted.mountpoint} for ${mounted.mountIds.join(', ')}`,
    'held by': volume.holders.map(holderText).join('; ') || 'nobody',
    waiting: volume.waiting.map(holderText).join('; '),
    disabled: volume.gate && `by ${gateText(volume.gate)}`,
    snapshots: snapshots.map(({ name }) => `${volume.name}@${name}`).join(' ') || 'none',
  });
  return lines;
}

/** Follows the source of a copy that was made of files in use. */
const liveText = ' (copied live: not of one moment)';

function sizeText({ size }: VolumeReply['options']): string | undefined {
  const bytes = Number(size ?? Number.NaN);
  return Number.isFinite(bytes) ? humanSize(bytes) : undefined;
}

function fencingText(fencing: VolumeReply['fencing'] | undefined): string | undefined {
  return fencing && `${fencing.level}: ${fencing.means}`;
}

function briefHolder({ host, reason }: HolderReply): string {
  return `${host} (${reason})`;
}
