import type { Command } from 'commander';
import { InvalidArgumentError } from 'commander';
import type { SnapshotTaken } from '../../plugin/admin/api/snapshots.ts';
import type { VolumeDetailReply } from '../../plugin/admin/api/volumes.ts';
import { humanSize } from '../../plugin/http/human-size.ts';
import { path } from '../admin-client.ts';
import { withCommonOptions } from '../common-options.ts';
import type { CommonOptions, Run } from '../context.ts';
import type { CopyOptions } from '../copy-options.ts';
import { copyInUse, stoodStillText, withCopyOptions } from '../copy-options.ts';
import { since, table } from '../format.ts';
import { followWork } from '../long-work.ts';

interface SnapshotName {
  readonly volume: string;
  readonly snapshot: string;
}

export function snapshotCommands(root: Command, run: Run): void {
  const group = root.command('snapshot').description('take, list, remove and restore snapshots');
  withCopyOptions(withCommonOptions(group.command('create')))
    .argument('<volume[@name]>', 'without a name, one is made from the time')
    .description('take a snapshot')
    .action((argument: string, options: CopyOptions) => {
      const [volume, name] = splitAt(argument);
      return run(options, volume, async (context) => {
        const steps = context.client.work<SnapshotTaken>(
          'POST',
          path`/volumes/${volume}/snapshots`,
          { ...(name !== undefined && { name }), ...copyInUse(options) },
        );
        const done = await followWork(context, steps);
        if (!context.json && done) context.stderr.write(stoodStillText(done));
        context.print(done?.snapshot, () => `${volume}@${done?.snapshot.name}\n`);
        return undefined;
      });
    });
  withCommonOptions(group.command('ls'))
    .argument('<volume>')
    .description("list a volume's snapshots")
    .action((volume: string, options: CommonOptions) =>
      run(options, volume, async ({ client, print }) => {
        const { snapshots } = await client.get<VolumeDetailReply>(path`/volumes/${volume}`);
        print(snapshots, (all) =>
          table(
            ['SNAPSHOT', 'CREATED', 'SIZE', 'OF', 'PARENT'],
            all.map(({ name, createdAt, bytes, kind, parent }) => [
              `${volume}@${name}`,
              since(createdAt),
              bytes === undefined ? '-' : humanSize(bytes),
              kindText(kind),
              parent ?? '-',
            ]),
          ),
        );
        return undefined;
      }),
    );
  withCommonOptions(group.command('rm'))
    .argument('<volume@name>', '', snapshotName)
    .description('remove a snapshot')
    .action(({ volume, snapshot }: SnapshotName, options: CommonOptions) =>
      run(options, volume, async (context) => {
        const at = path`/volumes/${volume}/snapshots/${snapshot}`;
        await followWork(context, context.client.work('DELETE', at));
        context.print(
          { removed: `${volume}@${snapshot}` },
          ({ removed }) => `removed ${removed}\n`,
        );
        return undefined;
      }),
    );
  withCommonOptions(group.command('restore'))
    .argument('<volume@name>', '', snapshotName)
    .description("replace a volume's content by a snapshot's; the volume must not be mounted")
    .action(({ volume, snapshot }: SnapshotName, options: CommonOptions) =>
      run(options, volume, async (context) => {
        const at = path`/volumes/${volume}/snapshots/${snapshot}/restore`;
        await followWork(context, context.client.work('POST', at));
        context.print(
          { restored: `${volume}@${snapshot}` },
          ({ restored }) => `restored ${restored}\n`,
        );
        return undefined;
      }),
    );
}

function kindText(kind: string | undefined): string {
  if (kind === undefined) return 'unknown';
  return kind === 'moment' ? 'one moment' : 'live files';
}

function splitAt(argument: string): [volume: string, snapshot: string | undefined] {
  const at = argument.indexOf('@');
  return at < 0 ? [argument, undefined] : [argument.slice(0, at), argument.slice(at + 1)];
}

function snapshotName(argument: string): SnapshotName {
  const [volume, snapshot] = splitAt(argument);
  if (!volume || !snapshot) throw new InvalidArgumentError('Use VOLUME@SNAPSHOT.');
  return { volume, snapshot };
}
