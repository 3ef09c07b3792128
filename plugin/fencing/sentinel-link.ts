import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { request } from 'node:http';
import { dirname, extname } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import createDebug from 'debug';
import { hasCode } from '../../lib/linux/error-code.ts';
import { commandLineOf, namespaceOf, processIds } from '../../lib/linux/proc.ts';
import type { Clock } from '../../lib/running/clock.ts';
import type { SentinelReport, WatchMessage } from '../../sentinel/watch.ts';
import { protocolVersion, reportSchema } from '../../sentinel/watch.ts';

const log = createDebug('berth:sentinel');
/** The sentinel of this release, as source or as built. */
const program = fileURLToPath(
  new URL(`../../sentinel/main${extname(import.meta.url)}`, import.meta.url),
);

/** Matches the path of any release's sentinel: another release may be installed elsewhere. */
const isSentinel = /\/sentinel\/main\.[jt]s$/;

const callLimitMs = 1_000;
const startLimitMs = 20_000;
const startPollMs = 20;

export interface SentinelLinkOptions {
  readonly socketPath: string;
  readonly dockerSocket: string;
  /** Where a sentinel that is started here writes its log. */
  readonly logPath: string;
  readonly clock: Clock;
}

/**
 * The connection to the sentinel. Finds the sentinel that runs, starts one if there is none, and
 * replaces one that does not answer or belongs to another release.
 */
export class SentinelLink {
  readonly #options: SentinelLinkOptions;
  #failures = 0;

  constructor(options: SentinelLinkOptions) {
    this.#options = options;
  }

  /** Resolves when the sentinel has the watch; rejects when no sentinel can be reached or started. */
  tell(watch: WatchMessage): Promise<SentinelReport> {
    return this.#withSentinel('PUT', '/watch', JSON.stringify(watch));
  }

  /** Ends the sentinel; what it has paused or frozen stays so. */
  async end(): Promise<void> {
    await this.#call('POST', '/end', '');
  }

  async #withSentinel(method: string, path: string, body = ''): Promise<SentinelReport> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        const report = await this.#call(method, path, body);
        this.#failures = 0;
        if (report.protocolVersion <= protocolVersion) return report;
        log('the sentinel (pid %d) belongs to another release: replacing it', report.pid);
        await this.#call('POST', '/end', '');
        await this.#start();
      } catch (error) {
        const isAbsent = hasCode(error, 'ENOENT', 'ECONNREFUSED');
        this.#failures += 1;
        if (attempt === 3) throw error;
        if (!isAbsent && this.#failures < 3) continue; // The sentinel may be busy.
        log('no sentinel answers (%s): starting one', error);
        if (!isAbsent) await this.#killUnresponsive();
        await this.#start();
      }
    }
  }

  /** Starts a sentinel that outlives this process; resolves when it listens. */
  async #start(): Promise<void> {
    const { socketPath, dockerSocket, logPath, clock } = this.#options;
    mkdirSync(dirname(socketPath), { recursive: true, mode: 0o755 });
    const output = openSync(logPath, 'a', 0o600);
    const flags = ['--socket', socketPath, '--docker-socket', dockerSocket];
    const child = spawn(process.execPath, ['--optimize-for-size', program, ...flags], {
      detached: true,
      stdio: ['ignore', output, output],
      env: { ...process.env, DEBUG: process.env.DEBUG || 'berth:sentinel' },
    });
    closeSync(output);
    child.on('error', (error) => log('ERROR the sentinel can not be started: %s', error));
    child.unref();
    const end = clock.now() + startLimitMs;
    while (clock.now() < end) {
      await clock.sleep(startPollMs);
      try {
        await this.#call('GET', '/report', '');
        return;
      } catch (error) {
        if (child.exitCode !== null && child.exitCode !== 1) throw error;
      }
    }
    throw new Error(`the sentinel does not start; see ${logPath}`);
  }

  /** Kills a sentinel that is stopped or hangs. It still has its socket; its command line finds it. */
  async #killUnresponsive(): Promise<void> {
    for (const pid of await pidsOf(this.#options.socketPath)) {
      log('WARNING the sentinel (pid %d) does not answer: killing it', pid);
      try {
        process.kill(pid, 'SIGKILL');
      } catch (error) {
        if (!hasCode(error, 'ESRCH')) throw error;
      }
    }
    this.#failures = 0;
  }

  async #call(method: string, path: string, body: string): Promise<SentinelReport> {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const { socketPath } = this.#options;
    const signal = AbortSignal.timeout(callLimitMs);
    const call = request({ socketPath, method, path, signal }, (response) => {
      text(response).then((answer) => {
        if (response.statusCode === 200) resolve(answer);
        else reject(new Error(`the sentinel answers with an error: ${answer}`));
      }, reject);
    });
    call.on('error', reject);
    call.end(body);
    return reportSchema.parse(JSON.parse(await promise));
  }
}

/** Returns the sentinels of this socket, in this mount namespace: tests make hosts of namespaces. */
async function pidsOf(socketPath: string): Promise<number[]> {
  const own = await namespaceOf('self', 'mnt');
  const pids: number[] = [];
  for (const pid of await processIds()) {
    const words = await commandLineOf(pid);
    if (!words.some((word) => isSentinel.test(word)) || !words.includes(socketPath)) continue;
    if ((await namespaceOf(pid, 'mnt')) === own) pids.push(pid);
  }
  return pids;
}
