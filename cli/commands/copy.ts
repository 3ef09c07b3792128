import type { Command } from 'commander';
import { withCommonOptions } from '../common-options.ts';
import type { CommonOptions, Run } from '../context.ts';
import { followWork } from '../long-work.ts';

export function copyCommand(root: Command, run: Run): void {
  withCommonOptions(root.command('copy'))
    .argument('<source[@snapshot]>', 'a volume, or one of its snapshots')
    .argument('<target>', 'the new volume')
    .description('make a new volume from the content of another')
    .action((source: string, target: string, options: CommonOptions) =>
      run(options, source.replace(/@.*/, ''), async (context) => {
        const steps = context.client.work('POST', '/copies', { source, target });
        await followWork(context, steps);
        context.print({ source, target }, () => `copied ${source} to ${target}\n`);
        return undefined;
      }),
    );
}
