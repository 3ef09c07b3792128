import type { Command } from 'commander';
import { InvalidArgumentError } from 'commander';
import type { LastUseReply, PruneReply, UnusedReply } from '../../plugin/admin/api/volumes.ts';
import { parseDuration } from '../../plugin/config/setting-values.ts';
import { withCommonOptions } from '../common-options.ts';
import type { CommonOptions, Run } from '../context.ts';
import { ago, since, table } from '../format.ts';
import { followWork } from '../long-work.ts';

interface PruneOptions extends CommonOptions {
  readonly unusedFor: number;
  readonly yes?: boolean;
}

/** Adds the removal of unused volumes to the group `volume`. */
export function pruneCommand(group: Command, run: Run): void {
  withCommonOptions(group.command('prune'))
    .requiredOption('--unused-for <time>', 'how long nobody has used them, such as 30d', duration)
    .option('--yes', 'remove them; without it they are only listed')
    .description('list or remove volumes that nobody has used for long, on any host')
    .action(({ unusedFor, yes = false, ...options }: PruneOptions) =>
      run(options, undefined, async (context) => {
        const body = { unusedForMs: unusedFor, remove: yes };
        const steps = context.client.work<PruneReply>('POST', '/prune', body);
        const done = await followWork(context, steps);
        const { unused = [], removed = [] } = done ?? {};
        context.print({ unused, removed }, () => pruneText(unused, removed, yes));
        return undefined;
      }),
    );
}

function pruneText(
  unused: readonly UnusedReply[],
  removed: readonly string[],
  isRemoval: boolean,
): string {
  if (unused.length === 0) return 'no volume is unused for that long\n';
  const rows = unused.map(({ name, driver, unusedSince, kept }) => [
    name,
    driver,
    since(unusedSince),
    kept === undefined ? (isRemoval ? 'removed' : 'would be removed') : `kept: ${kept}`,
  ]);
  const list = table(['NAME', 'DRIVER', 'UNUSED SINCE', ''], rows);
  if (isRemoval) return `${list}removed ${removed.length} of ${unused.length}\n`;
  return `${list}nothing was removed; to remove them, add --yes\n`;
}

/** Returns the last use of a volume for a table. */
export function lastUseCell(lastUse: LastUseReply | undefined): string {
  if (lastUse?.is === 'ended' && lastUse.at !== undefined) return ago(lastUse.at);
  return lastUse === undefined || lastUse.is === 'unknown' ? '-' : lastUse.is;
}

/** Returns it with its time; undefined: the daemon does not say. */
export function lastUseText(lastUse: LastUseReply | undefined): string | undefined {
  if (lastUse?.is === 'ended' && lastUse.at !== undefined) return since(lastUse.at);
  return lastUse?.is === 'unknown' ? 'not known' : lastUse?.is;
}

function duration(text: string): number {
  const ms = parseDuration(text);
  if (ms !== undefined && ms >= 1_000) return ms;
  throw new InvalidArgumentError('Use a time of at least 1s, such as 12h or 30d.');
}
