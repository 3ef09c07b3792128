import type { Command } from 'commander';
import { InvalidArgumentError } from 'commander';
import type {
  GateReply,
  GoneReply,
  LocksReply,
  TicketReply,
  UncleanEndsReply,
} from '../../plugin/admin/api/locks.ts';
import type { AdminClient } from '../admin-client.ts';
import { AdminError, path } from '../admin-client.ts';
import { withCommonOptions } from '../common-options.ts';
import type { CommonOptions, Context, Run } from '../context.ts';
import { exitCodes } from '../exit-code.ts';
import { gateText, holderText, since, table } from '../format.ts';
import { duration } from '../option-values.ts';
import { runUnderLock } from '../run-under-lock.ts';
import {
  clearLock,
  disableLock,
  enableLock,
  listLocks,
  runUnderStoreLock,
} from '../store-locks.ts';
import { lockServeCommand } from './lock-serve.ts';

/** Options of a command that works on the volumes' locks of the daemon, or on a store of its own. */
interface StoreOptions extends CommonOptions {
  readonly store?: string;
}

interface ClearOptions extends StoreOptions {
  readonly token?: number;
  readonly force?: boolean;
  readonly hostGone?: boolean;
}

interface DisableOptions extends StoreOptions {
  readonly why?: string;
}

interface RunOptions extends StoreOptions {
  readonly wait?: number;
  readonly shared?: boolean;
  readonly permits?: number;
  readonly ttl?: number;
}

export function lockCommands(root: Command, run: Run): void {
  const group = root
    .command('lock')
    .description('see who holds a volume; disable or clear its locks, or run a command under them');
  withStore(group.command('ls'))
    .description('list all holders, waiters and disabled volumes')
    .action((options: StoreOptions) =>
      run(options, undefined, async ({ client, print }) => {
        if (options.store !== undefined) return listLocks({ print }, options.store);
        print(await client.get<LocksReply>('/locks'), ({ tickets, gates }) =>
          withGates(ticketTable(tickets), gates),
        );
        return undefined;
      }),
    );
  withStore(group.command('inspect'))
    .argument('<volume>')
    .description('show who holds a volume, who waits for it, and whether it is disabled')
    .action((volume: string, options: StoreOptions) =>
      run(options, volume, async ({ client, print }) => {
        if (options.store !== undefined) return listLocks({ print }, options.store, volume);
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
  withStore(group.command('clear'))
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
      run(options, volume, (context) => {
        const { store, token: of, force = false } = options;
        if (store === undefined) return clear(context, volume, options);
        return clearLock(context, store, { name: volume, token: of, force });
      }),
    );
  withStore(group.command('disable'))
    .argument('<volume>')
    .option('--why <text>', 'the reason, shown to everyone who is refused')
    .description('refuse new users of a volume on every host; present users keep it')
    .action((volume: string, { why, ...options }: DisableOptions) =>
      run(options, volume, async ({ client, print }) => {
        if (options.store !== undefined) return disableLock({ print }, options.store, volume, why);
        const body = why === undefined ? {} : { why };
        const { disabled } = await client.post<{ disabled: GateReply }>(
          path`/locks/${volume}/disable`,
          body,
        );
        print(disabled, (gate) => `volume ${volume} is disabled by ${gateText(gate)}\n`);
        return undefined;
      }),
    );
  withStore(group.command('enable'))
    .argument('<volume>')
    .description('allow a disabled volume to be used again')
    .action((volume: string, options: StoreOptions) =>
      run(options, volume, async ({ client, print }) => {
        if (options.store !== undefined) return enableLock({ print }, options.store, volume);
        const reply = await client.post<{ enabled: string }>(path`/locks/${volume}/enable`, {});
        print(reply, ({ enabled }) => `volume ${enabled} is enabled\n`);
        return undefined;
      }),
    );
  withStore(group.command('run'))
    .argument('<volume>')
    .argument('<command...>', 'the command, after --; the variable BERTH_LOCK_TOKEN has the token')
    .option(
      '--wait <duration>',
      "how long to wait (default: the daemon's lock-timeout; with --store for ever); 0s: do not wait",
      duration,
    )
    .option('--shared', 'with --store: share the lock with others that share it')
    .option('--permits <count>', 'with --store: up to so many hold the lock at once', Number)
    .option(
      '--ttl <duration>',
      'with --store: how long the lock outlives this host (15s)',
      duration,
    )
    .usage('[options] <volume> -- <command...>')
    .description("run a command while holding a volume's locks; exits with its exit code")
    .action((volume: string, command: string[], options: RunOptions) =>
      run(options, volume, (context) => {
        const { store, shared = false, permits, wait, ttl } = options;
        const objection =
          store === undefined && (shared || (permits ?? ttl) !== undefined)
            ? '--shared, --permits and --ttl need --store'
            : shared && permits !== undefined && '--shared and --permits exclude each other';
        if (objection) throw new AdminError({ code: 'invalid', message: objection }, []);
        if (store === undefined) return runUnderLock(context, { volume, command, waitMs: wait });
        const mode = shared ? ('shared' as const) : ('exclusive' as const);
        const lock = permits === undefined ? { name: volume, mode } : { name: volume, permits };
        const of = { lock, command, waitMs: wait, ttlMs: ttl };
        return runUnderStoreLock(context, store, of);
      }),
    );
  lockServeCommand(group, run);
}

/** Adds the option of a command that can do without the daemon. */
function withStore(command: Command): Command {
  return withCommonOptions(command).option(
    '--store <url>',
    'without the daemon, any lock of this store in place of a volume: etcd://HOST:PORT,…/PREFIX, postgres://…, ./FILE',
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
  if (options.hostGone) return await confirmGone({ client, print }, volume, options);
  if (options.token === undefined) {
    const { tickets } = await locksOf(client, volume);
    print(tickets, (all) => howToClear(volume, all));
    return tickets.length === 0 ? exitCodes.notFound : exitCodes.usage;
  }
  const body = { token: options.token, force: options.force ?? false };
  const { cleared } = await client.post<{ cleared: TicketReply }>(
    path`/locks/${volume}/clear`,
    body,
  );
  print(cleared, (ticket) => `cleared the lock of ${holderText(ticket)}\n`);
  return exitCodes.ok;
}

/** Says that a host can't write to a volume any more; without a token, shows of which that can be said. */
async function confirmGone(
  { client, print }: Pick<Context, 'client' | 'print'>,
  volume: string,
  { token: ofMount, force = false }: ClearOptions,
): Promise<number> {
  const route = path`/locks/${volume}/gone`;
  if (ofMount === undefined) {
    const { uncleanEnds } = await client.get<UncleanEndsReply>(route);
    print(uncleanEnds, (all) => howToConfirm(volume, all));
    return uncleanEnds.length === 0 ? exitCodes.notFound : exitCodes.usage;
  }
  try {
    const reply = await client.post<GoneReply>(route, { token: ofMount, force });
    print(
      reply,
      ({ gone }) => `host ${gone.host} is gone: volume ${volume} is free of its Mount\n`,
    );
    return exitCodes.ok;
  } catch (error) {
    if (!(error instanceof AdminError) || error.failure.code !== 'not-found') throw error;
    const next = [
      `see which hosts did not end their Mount of it: berth lock clear ${volume} --host-gone`,
      'of all volumes: berth doctor',
    ];
    throw new AdminError(error.failure, next);
  }
}

function howToConfirm(volume: string, unclean: UncleanEndsReply['uncleanEnds']): string {
  const [first] = unclean;
  if (first === undefined) {
    return `every other host has ended its Mounts of volume ${volume}: there is nothing to confirm\n`;
  }
  const rows = unclean.map(({ host, since: at, token: number }) => [
    host,
    since(at),
    String(number),
  ]);
  return (
    `${table(['HOST', 'MOUNTED', 'TOKEN'], rows)}\n` +
    `These hosts did not end their Mount of volume ${volume}, and may still write to it.\n` +
    'A host that comes back ends its Mount by itself. If the first one is gone for good:\n' +
    `  berth lock clear ${volume} --token ${first.token} --host-gone\n`
  );
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
