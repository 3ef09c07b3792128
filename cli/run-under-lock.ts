import { setTimeout as delay } from 'node:timers/promises';
import type { LocksReply } from '../plugin/admin/api/locks.ts';
import type { LongWorkStep } from '../plugin/admin/api/long-work.ts';
import type { AdminClient } from './admin-client.ts';
import { AdminError, DaemonUnavailableError, path } from './admin-client.ts';
import type { Context } from './context.ts';
import { exitCodes } from './exit-code.ts';
import { startCommand } from './held-command.ts';
import { waitingText } from './long-work.ts';

interface HeldRun {
  readonly volume: string;
  readonly command: readonly string[];
  /** Undefined waits as long as the daemon's lock timeout. */
  readonly waitMs: number | undefined;
}

/** The maximum length of the command line that the daemon shows to waiting hosts. */
const detailLimit = 200;

/**
 * Runs a command while the daemon holds both locks of a volume for this process; resolves to the
 * command's exit code. The locks last as long as the connection, which the command and all that it
 * starts inherit: they stay locked also if this process is killed. If the locks are lost, or the daemon
 * ends, all of them are ended, because another host may get the volume.
 */
export async function runUnderLock(context: Context, run: HeldRun): Promise<number> {
  const { client, stderr, env } = context;
  const leaving = new AbortController();
  let connection = -1;
  const steps = client.work(
    'POST',
    path`/locks/${run.volume}/hold`,
    {
      detail: run.command.join(' ').slice(0, detailLimit),
      ...(run.waitMs !== undefined && { timeoutMs: run.waitMs }),
    },
    {
      signal: leaving.signal,
      onConnected: (descriptor) => {
        connection = descriptor;
      },
    },
  );
  const token = await granted(context, steps);

  const command = await startCommand(run.command, {
    env: { ...env, BERTH_LOCK_TOKEN: String(token) },
    connection,
    onLeft: (pids) =>
      stderr.write(
        `berth: the command has ended and left processes (${pids.join(', ')}); volume ${run.volume} stays locked until they end\n`,
      ),
  });
  const lost = steps.next().then(
    () => 'the lock ended',
    (error: unknown) => whyLost(error),
  );
  const first = await Promise.race([command.ended, lost]);
  if (typeof first === 'string') {
    stderr.write(`berth: volume ${run.volume} is no longer held: ${first}\n`);
    stderr.write('  ending the command, because another host may get the volume\n');
    await command.end();
    return exitCodes.failed;
  }
  leaving.abort();
  await released(client, run.volume, token);
  if (first.error !== undefined) stderr.write(`berth: ${first.error}\n`);
  return first.exitCode;
}

/** Prints whom it waits for until the lock is held; resolves to the lock's token. */
async function granted(
  { stderr, json }: Context,
  steps: AsyncGenerator<LongWorkStep, void>,
): Promise<number> {
  // Not by `for await`: leaving such a loop would end the request, and the lock with it.
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

/** Waits until the lock is released, so that the next command of a script finds the volume free. */
async function released(client: AdminClient, volume: string, token: number): Promise<void> {
  const end = performance.now() + 5_000;
  while (performance.now() < end) {
    try {
      const { tickets } = await client.get<LocksReply>(path`/locks/${volume}`);
      if (!tickets.some((ticket) => ticket.token === token)) return;
    } catch {
      return; // The daemon has ended, so there is nothing to wait for.
    }
    await delay(10);
  }
}
