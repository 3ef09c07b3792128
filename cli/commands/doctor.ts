import type { Command } from 'commander';
import type { AcceptedReply, DoctorReply, FindingReply } from '../../plugin/admin/api.ts';
import { withCommonOptions } from '../common-options.ts';
import type { CommonOptions, Run } from '../context.ts';
import { exitCodes } from '../exit-code.ts';
import { since } from '../format.ts';

interface DoctorCommandOptions extends CommonOptions {
  readonly fix?: boolean;
  readonly delete?: readonly string[];
  readonly acceptStore?: boolean;
}

export function doctorCommand(root: Command, run: Run): void {
  withCommonOptions(root.command('doctor'))
    .option('--fix', 'repair what can be repaired without losing data')
    .option(
      '--delete <name>',
      'with --fix: delete this volume or snapshot that has no record (repeatable)',
      (name: string, names: readonly string[] = []) => [...names, name],
    )
    .option(
      '--accept-store',
      'go on with the lock file of this host as it is, after it was put back, cut off or replaced',
    )
    .description(
      'find what interrupted operations left on this host; exit code 1 if anything remains',
    )
    .action((options: DoctorCommandOptions, command: Command) => {
      const deletions = options.delete ?? [];
      if (deletions.length > 0 && !options.fix) {
        command.error("error: option '--delete <name>' works only together with --fix");
      }
      if (options.acceptStore && options.fix) {
        command.error("error: option '--accept-store' can't be used with --fix");
      }
      return run(options, undefined, async ({ client, print }) => {
        if (options.acceptStore) {
          const reply = await client.post<AcceptedReply>('/doctor/accept-store', {});
          print(reply, acceptedText);
          return exitCodes.ok;
        }
        const reply = options.fix
          ? await client.post<DoctorReply>('/doctor', { delete: deletions })
          : await client.get<DoctorReply>('/doctor');
        print(reply, ({ findings }) => doctorText(findings));
        const isClean = reply.findings.every(({ state }) => state === 'fixed');
        return isClean ? exitCodes.ok : exitCodes.failed;
      });
    });
}

function acceptedText({ accepted }: AcceptedReply): string {
  return accepted
    ? 'the store is used as it is; look for what is missing with "berth doctor"\n'
    : 'the store is not refused: nothing to accept\n';
}

/** Returns one line per finding. */
function doctorText(findings: readonly FindingReply[]): string {
  if (findings.length === 0) return 'nothing is wrong\n';
  return findings.map((finding) => `${lineOf(finding)}\n`).join('');
}

function lineOf(finding: FindingReply): string {
  const { what, message, state, error, fix, next } = finding;
  const when = finding.since === undefined ? '' : `, since ${since(finding.since)}`;
  const fact = `${what} ${message}${when}`;
  if (state === 'fixed') return `fixed: ${fact}`;
  const todo = [
    ...(error === undefined ? [] : [`could not be fixed: ${error}`]),
    ...(fix === undefined || error !== undefined ? [] : [`berth doctor --fix ${fix}`]),
    ...next,
  ];
  return `${fact}; ${todo.join('; or ')}`;
}
