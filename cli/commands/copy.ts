import type { Command } from 'commander';
import type { StoodStill } from '../../plugin/admin/api/snapshots.ts';
import { withCommonOptions } from '../common-options.ts';
import type { Run } from '../context.ts';
import type { CopyOptions } from '../copy-options.ts';
import { copyInUse, stoodStillText, withCopyOptions } from '../copy-options.ts';
import { followWork } from '../long-work.ts';

export function copyCommand(root: Command, run: Run): void {
  withCopyOptions(withCommonOptions(root.command('copy')))
    .argument('<source[@snapshot]>', 'a volume, or one of its snapshots')
    .argument('<target>', 'the new volume')
    .description('make a new volume from the content of another')
    .action((source: string, target: string, options: CopyOptions) =>
      run(options, source.replace(/@.*/, ''), async (context) => {
        const body = { source, target, ...copyInUse(options) };
        const done = await followWork(
          context,
          context.client.work<StoodStill>('POST', '/copies', body),
        );
        if (!context.json && done) context.stderr.write(stoodStillText(done));
        context.print({ source, target }, () => `copied ${source} to ${target}\n`);
        return undefined;
      }),
    );
}
