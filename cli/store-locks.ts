import type { OpenedLocks } from '../lib/lock/open/open-locks.ts';
import type { Gate, Mode, NamedLock, Ticket } from '../lib/lock/ticket.ts';
import type { Failure } from '../plugin/admin/api/long-work.ts';
import { AdminError } from './admin-client.ts';
import type { Context } from './context.ts';
import { exitCodes } from './exit-code.ts';
import { gateText, holderText, since, table } from './format.ts';
import { startCommand } from './held-command.ts';
import { waitingText } from './long-work.ts';

/*
 * The lock commands with `--store URL`: they use the lock library in this process, without a daemon, and
 * the name is that of any lock.
 */

type Printing = Pick<Context, 'print'>;

/** One lock of a ticket, as the commands show it. */
interface Entry {
  readonly lock: string;
  readonly mode: Mode;
  /** Of a permit: how many there are. */
  readonly permits?: number;
  readonly state: 'held' | 'waiting';
  readonly host: string;
  readonly reason: string;
  readonly since: string;
  readonly token: number;
  readonly detail?: string;
}

interface Listing {
  readonly locks: readonly Entry[];
  readonly gates: readonly Gate[];
}

/** Lists all locks of a store, or one. */
export function listLocks({ print }: Printing, url: string, name?: string): Promise<undefined> {
  return withLocks(url, undefined, async (locks) => {
    const entries = await entriesOf(locks);
    const gates = await locks.gates();
    const listing: Listing = {
      locks: entries.filter(({ lock }) => name === undefined || lock === name),
      gates: gates.filter(({ lockName }) => name === undefined || lockName === name),
    };
    print(listing, (all) => listingText(all, name));
    return undefined;
  });
}

export function disableLock(
  { print }: Printing,
  url: string,
  name: string,
  why?: string,
): Promise<undefined> {
  return withLocks(url, undefined, async (locks) => {
    await locks.disable(name, why === undefined ? {} : { why });
    const gate = (await locks.gates()).find(({ lockName }) => lockName === name);
    print({ disabled: gate }, () => `lock ${name} is disabled by ${gate ? gateText(gate) : '?'}\n`);
    return undefined;
  });
}

export function enableLock({ print }: Printing, url: string, name: string): Promise<undefined> {
  return withLocks(url, undefined, async (locks) => {
    await locks.enable(name);
    print({ enabled: name }, () => `lock ${name} is enabled\n`);
    return undefined;
  });
}

export interface ClearRequest {
  readonly name: string;
  /** Undefined: the command shows the tokens. */
  readonly token: number | undefined;
  readonly force: boolean;
}

/** Removes the ticket of a holder or waiter; of one that is alive only with `force`. */
export function clearLock(
  { print }: Printing,
  url: string,
  { name, token, force }: ClearRequest,
): Promise<number> {
  return withLocks(url, undefined, async (locks) => {
    const tickets = await locks.inspect(name);
    if (token === undefined) {
      const entries = (await entriesOf(locks)).filter(({ lock }) => lock === name);
      print({ locks: entries, gates: [] }, (all) => listingText(all, name));
      return tickets.length === 0 ? exitCodes.notFound : exitCodes.usage;
    }
    const ticket = tickets.find((each) => each.token === token);
    if (!ticket) {
      throw refusal('not-found', `nobody has lock ${name} with token ${token}`, [
        `see the holders: berth lock inspect ${name} --store URL`,
      ]);
    }
    if (!force && (await locks.isAlive(ticket))) {
      const message = `the holder of lock ${name} is alive: ${holderOf(ticket)}`;
      const holders = [{ ...ticket.holder, token }];
      const next = ['end its program, or clear the lock with --force'];
      throw new AdminError({ code: 'refused', message, holders }, next);
    }
    await locks.breakLock(ticket);
    print({ cleared: ticket }, () => `cleared the lock of ${holderOf(ticket)}\n`);
    return exitCodes.ok;
  });
}

export interface StoreRun {
  readonly lock: NamedLock;
  readonly command: readonly string[];
  /** Undefined waits for ever. */
  readonly waitMs: number | undefined;
  readonly ttlMs: number | undefined;
}

/** The maximum length of the command line that others see. */
const detailLimit = 200;
/**
 * The lock stands a little longer than it is known to (`marginMs`): half of that is for the command to end,
 * before it is killed.
 */
const killAfterMs = (ttlMs = Number.POSITIVE_INFINITY) => Math.min(1_000, ttlMs / 10);

/**
 * Runs a command under a lock; resolves to the command's exit code. This process holds the lock: at its
 * death the kernel kills the command (but not what that has started), and the lock is free after the TTL.
 */
export function runUnderStoreLock(context: Context, url: string, run: StoreRun): Promise<number> {
  const { command, waitMs, ttlMs } = run;
  const name = typeof run.lock === 'string' ? run.lock : run.lock.name;
  const { stderr, env } = context;
  return withLocks(url, ttlMs, async (locks) => {
    const lock = await cancelledBySignals((signal) =>
      locks.lock(run.lock, {
        reason: 'Run',
        detail: command.join(' ').slice(0, detailLimit),
        signal,
        ...(waitMs !== undefined && { timeoutMs: waitMs }),
        onWait: (blockers) => {
          stderr.write(waitingText(blockers.map(({ holder, token }) => ({ ...holder, token }))));
        },
      }),
    );
    const started = await startCommand(command, {
      env: { ...env, BERTH_LOCK_TOKEN: String(lock.token) },
      onLeft: (pids) =>
        stderr.write(
          `berth: the command has ended and left processes (${pids.join(', ')}); lock ${name} is held until they end\n`,
        ),
    });
    const lost = new Promise<'lost'>((resolve) => {
      lock.signal.addEventListener('abort', () => resolve('lost'), { once: true });
      if (lock.signal.aborted) resolve('lost');
    });
    const first = await Promise.race([started.ended, lost]);
    if (first === 'lost') {
      stderr.write(`berth: lock ${name} is no longer held: ${lock.signal.reason}\n`);
      stderr.write('  ending the command, because another may get the lock\n');
      await started.end(killAfterMs(ttlMs));
      return exitCodes.failed;
    }
    await lock.unlock();
    if (first.error !== undefined) stderr.write(`berth: ${first.error}\n`);
    return first.exitCode;
  });
}

/** Runs `work` with a signal that aborts when a signal asks this process to end: its ticket would stand for the TTL. */
async function cancelledBySignals<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const leaving = new AbortController();
  const leave = () => leaving.abort();
  const names = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const name of names) process.on(name, leave);
  try {
    return await work(leaving.signal);
  } finally {
    for (const name of names) process.off(name, leave);
  }
}

/** Opens the locks of a store for `work`. Rejects with AdminError for what a person can repair. */
export async function withLocks<T>(
  url: string,
  ttlMs: number | undefined,
  work: (locks: OpenedLocks) => Promise<T>,
): Promise<T> {
  // Loaded with --store only: the other commands start sooner without it.
  const { openLocks } = await import('../lib/lock/open/open-locks.ts');
  const { LockError } = await import('../lib/lock/errors.ts');
  try {
    await using locks = await openLocks(url, {
      reason: 'berth lock',
      ...(ttlMs !== undefined && { ttlMs }),
    });
    return await work(locks);
  } catch (error) {
    if (error instanceof RangeError) throw refusal('invalid', error.message, []);
    // The library refuses a number of permits because others use another one.
    if (error instanceof LockError && error.code === 'refused') {
      throw refusal('in-use', error.message, adviceOn('contended'));
    }
    if (error instanceof LockError) throw refusal(error.code, error.message, adviceOn(error.code));
    throw error;
  }
}

function adviceOn(code: string): string[] {
  if (code === 'contended' || code === 'timeout') {
    return ['see who holds it and who waits: berth lock inspect NAME --store URL'];
  }
  if (code === 'disabled') return ['enable it again: berth lock enable NAME --store URL'];
  return code === 'unavailable' ? ['check the address, and that the store runs'] : [];
}

function refusal(code: Failure['code'], message: string, next: readonly string[]): AdminError {
  return new AdminError({ code, message }, next);
}

async function entriesOf(locks: OpenedLocks): Promise<Entry[]> {
  const { blockersOf } = await import('../lib/lock/conflicts.ts');
  const tickets = await locks.list();
  return tickets.flatMap((ticket) => {
    const { token, holder } = ticket;
    const state = blockersOf(ticket, tickets).length === 0 ? 'held' : 'waiting';
    return ticket.locks.map(({ name, ...kind }): Entry => {
      return { lock: name, ...kind, state, token, ...holder };
    });
  });
}

function holderOf({ holder, token }: Ticket): string {
  return holderText({ ...holder, token });
}

/** Returns `permit 2 of 3` for the second of those who have a permit; `held` counts them by lock. */
function modeText({ lock, mode, permits, state }: Entry, held: Map<string, number>): string {
  if (permits === undefined) return mode;
  if (state === 'waiting') return `permit of ${permits}`;
  const number = (held.get(lock) ?? 0) + 1;
  held.set(lock, number);
  return `permit ${number} of ${permits}`;
}

function listingText({ locks, gates }: Listing, name: string | undefined): string {
  const isFree = name !== undefined && locks.length === 0;
  const headers = ['LOCK', 'MODE', 'STATE', 'HOST', 'REASON', 'SINCE', 'TOKEN', 'DETAIL'];
  const held = new Map<string, number>();
  const rows = locks.map((entry) => {
    const { lock, state, host, reason, since: time, token, detail } = entry;
    return [
      ...[lock, modeText(entry, held), state, host, reason],
      ...[since(time), String(token), detail ?? ''],
    ];
  });
  const text = isFree ? `nobody holds lock ${name}\n` : table(headers, rows);
  if (gates.length === 0) return text;
  const closed = gates.map(({ lockName, host, since: time, why }) => [
    ...[lockName, host, since(time), why ?? ''],
  ]);
  return `${text}\n${table(['DISABLED', 'BY', 'SINCE', 'WHY'], closed)}`;
}
