import { setTimeout as delay } from 'node:timers/promises';
import type { LocksReply, LongWorkStep } from '../plugin/admin/api.ts';
import type { AdminClient } from './admin-client.ts';
import { AdminError, DaemonUnavailableError, path } from './admin-client.ts';
import type { Context } from './context.ts';
import { exitCodes } from './exit-code.ts';
import { startCommand } from './held-command.ts';
import { waitingText } from './long-work.ts';

interface HeldRun {
  readonly volume: string;
  readonly command: readonly string[];
  /** Undefined: as long as the daemon waits for a lock. */
  readonly waitMs: number | undefined;
}

/** What the daemon keeps of the command line, for those who have to wait for it. */
const detailLimit = 200;

/**
 * Runs a command while the daemon holds both locks of a volume for this process, and resolves the
 * command's exit code. The locks live as long as the connection. When they are lost, or the daemon
 * is gone, the command is ended, because somebody else may have the volume.
 */
export async function runUnderLock(context: Context, run: HeldRun): Promise<number> {
  const { client, stderr, env } = context;
  const leaving = new AbortController();
  const steps = client.work(
    'POST',
    path`/locks/${run.volume}/hold`,
    {
      detail: run.command.join(' ').slice(0, detailLimit),
      ...(run.waitMs !== undefined && { timeoutMs: run.waitMs }),
    },
    leaving.signal,
  );
  const token = await granted(context, steps);

  const command = startCommand(run.command, { ...env, BERTH_LOCK_TOKEN: String(token) });
  const lost = steps.next().then(
    () => 'the lock ended',
    (error: unknown) => whyLost(error),
  );
  const first = await Promise.race([command.ended, lost]);
  if (typeof first === 'string') {
    stderr.write(`berth: volume ${run.volume} is no longer held: ${first}\n`);
    stderr.write('  ending the command: somebody else may have the volume now\n');
    await command.end();
    return exitCodes.failed;
  }
  leaving.abort();
  await released(client, run.volume, token);
  if (first.error !== undefined) stderr.write(`berth: ${first.error}\n`);
  return first.exitCode;
}

/** Says whom it waits for, until the lock is held; resolves its token. */
async function granted(
  { stderr, json }: Context,
  steps: AsyncGenerator<LongWorkStep, void>,
): Promise<number> {
  // By hand: leaving a `for await` would end the request, and with it the lock.
  for (;;) {
    const { value: step, done } = await steps.next();
    if (done) throw new Error('the daemon ended without granting the lock');
    if (json) stderr.write(`${JSON.stringify(step)}\n`);
    else if (step.event === 'waiting') stderr.write(waitingText(step.holders));
    if (step.event === 'held') return step.token;
  }
}

function whyLost(error: unknown): string {
  if (error instanceof AdminError) return error.message;
  if (error instanceof DaemonUnavailableError) return `the daemon is gone (${error.reason})`;
  return String(error);
}

/** So that what follows in a script finds the volume free. */
async function released(client: AdminClient, volume: string, token: number): Promise<void> {
  const end = performance.now() + 5_000;
  while (performance.now() < end) {
    try {
      const { tickets } = await client.get<LocksReply>(path`/locks/${volume}`);
      if (!tickets.some((ticket) => ticket.token === token)) return;
    } catch {
      return; // The daemon is gone, and will see that the connection is, too.
    }
    await delay(10);
  }
}
