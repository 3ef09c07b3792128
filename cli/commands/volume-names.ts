import type { Command } from 'commander';
import { path } from '../admin-client.ts';
import { withCommonOptions } from '../common-options.ts';
import type { CommonOptions, Run } from '../context.ts';
import { followWork } from '../long-work.ts';
import type { Given } from '../option-values.ts';
import { collectOptions } from '../option-values.ts';

interface CreateOptions extends CommonOptions {
  readonly opt?: Given;
}

/** Adds the commands that change which volumes there are. */
export function volumeNameCommands(group: Command, run: Run): void {
  withCommonOptions(group.command('create'))
    .argument('<volume>')
    .option(
      '-o, --opt <option=value>',
      'an option as of "docker volume create", such as -o driver=image -o size=10G; may be repeated',
      collectOptions,
    )
    .description('create a volume, as "docker volume create -d berth" does')
    .action((volume: string, { opt = {}, ...options }: CreateOptions) =>
      run(options, volume, async (context) => {
        const body = { name: volume, options: opt };
        await followWork(context, context.client.work('POST', '/volumes', body));
        context.print({ created: volume }, ({ created }) => `${created}\n`);
        return undefined;
      }),
    );
  withCommonOptions(group.command('rename'))
    .argument('<volume>')
    .argument('<new-name>')
    .description('give a volume that is mounted nowhere another name')
    .action((volume: string, to: string, options: CommonOptions) =>
      run(options, volume, async (context) => {
        const at = path`/volumes/${volume}/rename`;
        await followWork(context, context.client.work('POST', at, { to }));
        context.print(
          { renamed: volume, to },
          () => `${volume} is ${to} now\n${renamedText(volume, to)}`,
        );
        return undefined;
      }),
    );
  withCommonOptions(group.command('rm'))
    .argument('<volume...>')
    .description('remove volumes that nobody uses, with their content')
    .action(async (volumes: readonly string[], options: CommonOptions) => {
      for (const volume of volumes) {
        await run(options, volume, async (context) => {
          await followWork(context, context.client.work('DELETE', path`/volumes/${volume}`));
          context.print({ removed: volume }, ({ removed }) => `removed ${removed}\n`);
          return undefined;
        });
      }
    });
}

/** Says what becomes of containers that name the volume as before. */
function renamedText(volume: string, to: string): string {
  return (
    `Docker's containers that name ${volume} do not follow: those that exist fail to start, and new ones ` +
    `get a new, empty volume ${volume}. Make them again with ${to}.\n`
  );
}
