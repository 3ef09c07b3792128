import type { Command } from 'commander';
import { InvalidArgumentError } from 'commander';
import type { RemovedReply, RestoredReply, TrashReply } from '../../plugin/admin/api/trash.ts';
import { humanSize } from '../../plugin/http/human-size.ts';
import { AdminError } from '../admin-client.ts';
import { withCommonOptions } from '../common-options.ts';
import type { CommonOptions, Context, Run } from '../context.ts';
import { since, table } from '../format.ts';
import { followWork } from '../long-work.ts';

interface RestoreOptions extends CommonOptions {
  readonly as?: string;
}

interface Removed {
  readonly volume: string;
  readonly which: string | undefined;
}

/** Adds the commands for removed volumes to the group `volume`. */
export function trashCommands(group: Command, run: Run): void {
  withCommonOptions(group.command('restore'))
    .argument('<volume[@id]>', 'without an ID or the time of its removal: the last one', removed)
    .option('--as <name>', 'give it another name than it had')
    .description('put a removed volume back that the trash has kept, with its snapshots')
    .action(({ volume, which }: Removed, { as, ...options }: RestoreOptions) =>
      run(options, as ?? volume, async (context) => {
        const body = {
          volume,
          ...(which !== undefined && { which }),
          ...(as !== undefined && { as }),
        };
        const at = '/trash/restore';
        const steps = context.client.work<{ restored: RestoredReply }>('POST', at, body);
        const done = await followWork(context, steps).catch(withTrashAdvice);
        context.print(done?.restored, (reply) => (reply ? restoredText(reply) : ''));
        return undefined;
      }),
    );
  withCommonOptions(group.command('discard'))
    .argument('<volume@id>', 'as "berth volume ls --trash" shows it')
    .description('delete a removed volume from the trash for good')
    .action((entry: string, options: CommonOptions) =>
      run(options, undefined, async (context) => {
        await followWork(context, context.client.work('POST', '/trash/discard', { entry }));
        context.print({ discarded: entry }, () => `deleted ${entry}\n`);
        return undefined;
      }),
    );
}

/** Lists what is in the trash: `berth volume ls --trash`. */
export async function listTrash({ client, print }: Context): Promise<undefined> {
  const { removed: all, termMs } = await client.get<TrashReply>('/trash');
  print(all, (found) => {
    const rows = table(headers, found.map(rowOf));
    if (termMs !== 0) return rows;
    return found.length === 0 ? isOff : `${rows}${isOff}`;
  });
}

const isOff =
  'the trash is off: this host deletes what it removes at once, except volumes with keep=; ' +
  'to keep it for a week: berth serve --trash 7d, or -o keep=7d for one volume\n';

const headers = ['REMOVED', 'DRIVER', 'SIZE', 'AT', 'BY', 'KEPT UNTIL', 'SNAPSHOTS'];

function rowOf(reply: RemovedReply): string[] {
  const { volume, id, driver, bytes, removedAt, removedBy, keptUntil, snapshots } = reply;
  return [
    `${volume}@${id}`,
    driver,
    bytes === undefined ? '-' : humanSize(bytes),
    toSecond(removedAt),
    removedBy,
    toSecond(keptUntil),
    String(snapshots.length),
  ];
}

/** The advice for a volume that is not there names the volumes that were not removed. */
function withTrashAdvice(error: unknown): never {
  if (!(error instanceof AdminError) || error.failure.code !== 'not-found') throw error;
  throw new AdminError(error.failure, ['list the removed volumes: berth volume ls --trash']);
}

function restoredText({ volume, id, removedAt, as }: RestoredReply): string {
  return `${as} is back: ${volume}@${id}, removed at ${since(removedAt)}\n`;
}

function removed(argument: string): Removed {
  const at = argument.indexOf('@');
  if (at < 0) return { volume: argument, which: undefined };
  const [volume, which] = [argument.slice(0, at), argument.slice(at + 1)];
  if (!volume || !which) throw new InvalidArgumentError('Use VOLUME, VOLUME@ID or VOLUME@TIME.');
  return { volume, which };
}

function toSecond(time: string): string {
  return time.replace(/\.\d+Z$/, 'Z');
}
