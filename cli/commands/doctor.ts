import type { Command } from 'commander';
import type { AcceptedReply, DoctorReply, FindingReply } from '../../plugin/admin/api/doctor.ts';
import { withCommonOptions } from '../common-options.ts';
import type { CommonOptions, Run } from '../context.ts';
import { exitCodes } from '../exit-code.ts';
import { since } from '../format.ts';

interface DoctorCommandOptions extends CommonOptions {
  readonly fix?: boolean;
  readonly delete?: readonly string[];
  readonly acceptStore?: boolean;
  readonly restoreRecords?: boolean;
  readonly forgetRecords?: boolean;
}

/** The options that each do something else than a look, so only one of them can be given. */
const alone = {
  fix: '--fix',
  acceptStore: '--accept-store',
  restoreRecords: '--restore-records',
  forgetRecords: '--forget-records',
} as const;

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
    .option(
      '--restore-records',
      'put records that the store has lost back from what this host remembers; look first without it',
    )
    .option('--forget-records', 'go on without the records that the store has lost, on all hosts')
    .description(
      'find what interrupted operations left on this host; exit code 1 if anything remains',
    )
    .action((options: DoctorCommandOptions, command: Command) => {
      const deletions = options.delete ?? [];
      if (deletions.length > 0 && !options.fix) {
        command.error("error: option '--delete <name>' works only together with --fix");
      }
      const [first, second] = Object.entries(alone).flatMap(([name, flag]) =>
        options[name as keyof typeof alone] ? flag : [],
      );
      if (second) command.error(`error: option '${second}' can't be used with ${first}`);
      return run(options, undefined, async ({ client, print }) => {
        if (options.acceptStore) {
          const reply = await client.post<AcceptedReply>('/doctor/accept-store', {});
          print(reply, acceptedText);
          return exitCodes.ok;
        }
        const records = options.restoreRecords ? 'restore' : options.forgetRecords && 'forget';
        const reply = records
          ? await client.post<DoctorReply>(`/doctor/${records}-records`, {})
          : options.fix
            ? await client.post<DoctorReply>('/doctor', { delete: deletions })
            : await client.get<DoctorReply>('/doctor');
        const clean = records
          ? 'the store has lost no record that this host remembers\n'
          : undefined;
        print(reply, ({ findings }) => doctorText(findings, clean));
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
function doctorText(findings: readonly FindingReply[], clean = 'nothing is wrong\n'): string {
  if (findings.length === 0) return clean;
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
