import type { Command } from 'commander';
import { InvalidArgumentError } from 'commander';
import type { GateReply, GoneReply, LocksReply, TicketReply } from '../../plugin/admin/api.ts';
import { parseDuration } from '../../plugin/config/setting-values.ts';
import type { AdminClient } from '../admin-client.ts';
import { path } from '../admin-client.ts';
import { withCommonOptions } from '../common-options.ts';
import type { CommonOptions, Context, Run } from '../context.ts';
import { exitCodes } from '../exit-code.ts';
import { gateText, holderText, since, table } from '../format.ts';
import { runUnderLock } from '../run-under-lock.ts';

interface ClearOptions extends CommonOptions {
  readonly token?: number;
  readonly force?: boolean;
  readonly hostGone?: boolean;
}

interface DisableOptions extends CommonOptions {
  readonly why?: string;
}

interface RunOptions extends CommonOptions {
  readonly wait?: number;
}

export function lockCommands(root: Command, run: Run): void {
  const group = root
    .command('lock')
    .description('see who holds a volume; disable or clear its locks, or run a command under them');
  withCommonOptions(group.command('ls'))
    .description('list all holders, waiters and disabled volumes')
    .action((options: CommonOptions) =>
      run(options, undefined, async ({ client, print }) => {
        print(await client.get<LocksReply>('/locks'), ({ tickets, gates }) =>
          withGates(ticketTable(tickets), gates),
        );
        return undefined;
      }),
    );
  withCommonOptions(group.command('inspect'))
    .argument('<volume>')
    .description('show who holds a volume, who waits for it, and whether it is disabled')
    .action((volume: string, options: CommonOptions) =>
      run(options, volume, async ({ client, print }) => {
        print(await locksOf(client, volume), ({ tickets, gates }) => {
          const isFree = tickets.length === 0;
          return withGates(
            isFree ? `nobody holds volume ${volume}\n` : ticketTable(tickets),
            gates,
          );
        });
        return undefined;
      }),
    );
  withCommonOptions(group.command('clear'))
    .argument('<volume>')
    .option(
      '--token <n>',
      'the token of the lock to clear; without it, the command shows the tokens',
      token,
    )
    .option('--force', 'clear it even if the holder is alive: its containers are killed first')
    .option(
      '--host-gone',
      "the host of this token can't write any more: it is switched off for good (berth doctor lists such hosts)",
    )
    .description('clear the lock of a dead host, or with --force of a living one')
    .action((volume: string, options: ClearOptions) =>
      run(options, volume, (context) => clear(context, volume, options)),
    );
  withCommonOptions(group.command('disable'))
    .argument('<volume>')
    .option('--why <text>', 'the reason, shown to everyone who is refused')
    .description('refuse new users of a volume on every host; present users keep it')
    .action((volume: string, { why, ...options }: DisableOptions) =>
      run(options, volume, async ({ client, print }) => {
        const body = why === undefined ? {} : { why };
        const { disabled } = await client.post<{ disabled: GateReply }>(
          path`/locks/${volume}/disable`,
          body,
        );
        print(disabled, (gate) => `volume ${volume} is disabled by ${gateText(gate)}\n`);
        return undefined;
      }),
    );
  withCommonOptions(group.command('enable'))
    .argument('<volume>')
    .description('allow a disabled volume to be used again')
    .action((volume: string, options: CommonOptions) =>
      run(options, volume, async ({ client, print }) => {
        const reply = await client.post<{ enabled: string }>(path`/locks/${volume}/enable`, {});
        print(reply, ({ enabled }) => `volume ${enabled} is enabled\n`);
        return undefined;
      }),
    );
  withCommonOptions(group.command('run'))
    .argument('<volume>')
    .argument('<command...>', 'the command, after --; the variable BERTH_LOCK_TOKEN has the token')
    .option(
      '--wait <duration>',
      "how long to wait (default: the daemon's lock-timeout); 0s: do not wait",
      duration,
    )
    .usage('[options] <volume> -- <command...>')
    .description("run a command while holding a volume's locks; exits with its exit code")
    .action((volume: string, command: string[], options: RunOptions) =>
      run(options, volume, (context) =>
        runUnderLock(context, { volume, command, waitMs: options.wait }),
      ),
    );
}

/** Returns the tickets and gates of a volume. Rejects if the volume does not exist. */
async function locksOf(client: AdminClient, volume: string): Promise<LocksReply> {
  const reply = await client.get<LocksReply>(path`/locks/${volume}`);
  if (reply.tickets.length === 0 && reply.gates.length === 0) {
    await client.get(path`/volumes/${volume}`);
  }
  return reply;
}

async function clear(
  { client, print }: Context,
  volume: string,
  options: ClearOptions,
): Promise<number> {
  if (options.token === undefined) {
    const { tickets } = await locksOf(client, volume);
    print(tickets, (all) => howToClear(volume, all));
    return tickets.length === 0 ? exitCodes.notFound : exitCodes.usage;
  }
  const body = { token: options.token, force: options.force ?? false };
  if (options.hostGone) {
    const reply = await client.post<GoneReply>(path`/locks/${volume}/gone`, body);
    print(
      reply,
      ({ gone }) => `host ${gone.host} is gone: volume ${volume} is free of its Mount\n`,
    );
    return exitCodes.ok;
  }
  const { cleared } = await client.post<{ cleared: TicketReply }>(
    path`/locks/${volume}/clear`,
    body,
  );
  print(cleared, (ticket) => `cleared the lock of ${holderText(ticket)}\n`);
  return exitCodes.ok;
}

/** Explains how to clear the first ticket: holders come before waiters. */
function howToClear(volume: string, tickets: readonly TicketReply[]): string {
  const [first] = tickets;
  if (first === undefined) return `nobody holds volume ${volume}: there is nothing to clear\n`;
  return (
    `${ticketTable(tickets)}\n` +
    'To clear the first one if its host is dead:\n' +
    `  berth lock clear ${volume} --token ${first.token}\n` +
    'If its host is alive, add --force: the containers that use the volume there are killed first.\n'
  );
}

function ticketTable(tickets: readonly TicketReply[]): string {
  const headers = ['VOLUME', 'LOCKS', 'STATE', 'HOST', 'REASON', 'SINCE', 'TOKEN', 'DETAIL'];
  const rows = tickets.map((ticket) => [
    [...new Set(ticket.uses.map(({ volume }) => volume))].join(','),
    [...new Set(ticket.uses.map(({ facet }) => facet))].join('+'),
    ticket.state,
    ticket.host,
    ticket.reason,
    since(ticket.since),
    String(ticket.token),
    ticket.detail ?? '',
  ]);
  return table(headers, rows);
}

function withGates(text: string, gates: readonly GateReply[]): string {
  if (gates.length === 0) return text;
  const headers = ['DISABLED', 'LOCKS', 'BY', 'SINCE', 'WHY'];
  const rows = gates.map(({ volume, facets, host, since: time, why }) => [
    volume,
    facets.join('+'),
    host,
    since(time),
    why ?? '',
  ]);
  return `${text}\n${table(headers, rows)}`;
}

function token(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value) || value === 0) {
    throw new InvalidArgumentError('Use the number that berth lock inspect shows.');
  }
  return value;
}

function duration(text: string): number {
  const ms = parseDuration(text);
  if (ms === undefined || ms > 86_400_000) {
    throw new InvalidArgumentError('Use 0s to 24h, like 30s or 5m.');
  }
  return ms;
}
