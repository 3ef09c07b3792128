import type { Command } from 'commander';
import type { HolderReply, VolumeDetailReply, VolumeReply } from '../../plugin/admin/api.ts';
import { humanSize } from '../../plugin/http/human-size.ts';
import { path } from '../admin-client.ts';
import { withCommonOptions } from '../common-options.ts';
import type { CommonOptions, Run } from '../context.ts';
import { facts, gateText, holderText, since, table } from '../format.ts';

export function volumeCommands(root: Command, run: Run): void {
  const group = root.command('volume').description('list and inspect volumes');
  withCommonOptions(group.command('ls'))
    .description('list the volumes and who holds them')
    .action((options: CommonOptions) =>
      run(options, undefined, async ({ client, print }) => {
        const { volumes } = await client.get<{ volumes: VolumeReply[] }>('/volumes');
        print(volumes, volumeTable);
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
}

function volumeTable(volumes: readonly VolumeReply[]): string {
  const headers = [
    'NAME',
    'DRIVER',
    'ACCESS',
    'FENCING',
    'SIZE',
    'HELD BY',
    'WAITING',
    'SNAPSHOTS',
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
  ]);
  return table(headers, rows);
}

function volumeText(volume: VolumeDetailReply): string {
  const { usage, usageError, mounted, snapshots, options } = volume;
  const lines = facts({
    name: volume.name,
    driver: volume.driver,
    access: volume.access,
    failover: volume.failover,
    'on lost': volume.onLost,
    fencing: fencingText(volume.fencing),
    size: sizeText(options),
    used: usage ? humanSize(usage.usedBytes) : (usageError ?? '-'),
    options: Object.entries(options)
      .map(([name, value]) => `${name}=${value}`)
      .join(' '),
    from: volume.from,
    created: `${since(volume.createdAt)} on ${volume.createdBy}`,
    'mounted here': mounted && `${mounted.mountpoint} for ${mounted.mountIds.join(', ')}`,
    'held by': volume.holders.map(holderText).join('; ') || 'nobody',
    waiting: volume.waiting.map(holderText).join('; '),
    disabled: volume.gate && `by ${gateText(volume.gate)}`,
    snapshots: snapshots.map(({ name }) => `${volume.name}@${name}`).join(' ') || 'none',
  });
  return lines;
}

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
