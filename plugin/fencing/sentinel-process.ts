import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { rm, stat } from 'node:fs/promises';
import { dirname, extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import createDebug from 'debug';
import { hasCode } from '../../lib/linux/error-code.ts';
import { ifSeen, processFile, processStatSync } from '../../lib/linux/proc.ts';
import { listenersOn } from '../../lib/linux/unix-listeners.ts';
import type { Clock } from '../../lib/running/clock.ts';
import { compileCacheVariable } from '../../lib/running/compile-cache.ts';
import type { ProcessLook } from './liveness.ts';

const log = createDebug('berth:sentinel');

/** The sentinel of this release, as source or as built. */
const program = fileURLToPath(
  new URL(`../../sentinel/main${extname(import.meta.url)}`, import.meta.url),
);

/** A killed process ends within this time unless it waits for storage that hangs. */
const endLimitMs = 1_000;
const endPollMs = 20;

/** The processes that serve, or should serve, on the sentinel's socket. */
export interface SentinelProcesses {
  /** Finds the processes that listen on the socket, of whatever release. */
  find(): Promise<ProcessLook[]>;
  /** Starts a sentinel of this release, which outlives this process. Does not wait for it. */
  start(): StartedSentinel;
  /** Resolves to true when the process has ended, to false when it has not within `limitMs`. */
  hasEnded(process: ProcessLook, limitMs: number): Promise<boolean>;
  /** Kills a process. Afterwards another one can listen on the socket. */
  kill(process: ProcessLook): Promise<void>;
}

export interface StartedSentinel {
  readonly pid?: number | undefined;
  /** Undefined while it runs. */
  readonly exitCode: number | null;
}

export interface SentinelProcessOptions {
  readonly socketPath: string;
  readonly dockerSocket: string;
  /** Where a sentinel that is started here writes its log. */
  readonly logPath: string;
  readonly clock: Clock;
}

export function sentinelProcesses(options: SentinelProcessOptions): SentinelProcesses {
  const { socketPath, dockerSocket, logPath, clock } = options;

  async function hasEnded({ pid, started }: ProcessLook, limitMs: number): Promise<boolean> {
    const end = clock.now() + limitMs;
    for (;;) {
      const stat = processStatSync(pid);
      if (stat?.started !== started || stat.state === 'Z' || stat.state === 'X') return true;
      if (clock.now() > end) return false;
      await clock.sleep(endPollMs);
    }
  }

  return {
    find: async () => {
      const pids = (await listenersOn(socketPath)).filter((pid) => pid !== process.pid);
      const looks = await Promise.all(pids.map((pid) => lookAt(pid, `${socketPath}.state`)));
      return looks.filter((look) => look !== undefined);
    },

    start: () => {
      mkdirSync(dirname(socketPath), { recursive: true, mode: 0o755 });
      const output = openSync(logPath, 'a', 0o600);
      const flags = ['--socket', socketPath, '--docker-socket', dockerSocket];
      const child = spawn(process.execPath, ['--optimize-for-size', program, ...flags], {
        detached: true,
        stdio: ['ignore', output, output],
        env: {
          ...{ ...process.env, ...compileCacheVariable() },
          DEBUG: process.env.DEBUG || 'berth:sentinel',
        },
      });
      closeSync(output);
      child.on('error', (error) => log('ERROR the sentinel can not be started: %s', error));
      child.unref();
      return child;
    },

    hasEnded,

    kill: async (look) => {
      try {
        process.kill(look.pid, 'SIGKILL');
      } catch (error) {
        if (!hasCode(error, 'ESRCH')) throw error;
      }
      if (await hasEnded(look, endLimitMs)) return;
      // It waits in the kernel, and runs no further line of its program when it wakes.
      log('WARNING the killed sentinel (pid %d) does not end yet: freeing its socket', look.pid);
      await rm(socketPath, { force: true });
    },
  };
}

async function lookAt(pid: number, stateFile: string): Promise<ProcessLook | undefined> {
  const stat = processStatSync(pid);
  if (!stat) return undefined;
  // In nanoseconds, if the kernel counts them; clock ticks are too coarse for an idle sentinel.
  const schedule = await processFile(pid, 'schedstat');
  return {
    pid,
    started: stat.started,
    state: stat.state,
    used: `${stat.usedTicks} ${schedule?.trim()}`,
    written: await changeTimeOf(stateFile),
  };
}

async function changeTimeOf(path: string): Promise<string> {
  const found = await ifSeen(stat(path, { bigint: true }));
  return found ? `${found.ino} ${found.size} ${found.mtimeNs}` : 'none';
}
