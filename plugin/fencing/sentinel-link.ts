import createDebug from 'debug';
import { z } from 'zod';
import { hasCode } from '../../lib/linux/error-code.ts';
import type { Clock } from '../../lib/running/clock.ts';
import { messageOf } from '../../lib/running/message-of.ts';
import type {
  ChangeReport,
  SentinelReport,
  WatchChange,
  WatchMessage,
} from '../../sentinel/watch.ts';
import { changeReportSchema, protocolVersion, reportSchema } from '../../sentinel/watch.ts';
import type { ProcessLook } from './liveness.ts';
import { Liveness } from './liveness.ts';
import type { SentinelCall } from './sentinel-call.ts';
import { SentinelRefusal } from './sentinel-call.ts';
import type { SentinelProcesses } from './sentinel-process.ts';

const log = createDebug('berth:sentinel');

const attempts = 3;
const startLimitMs = 20_000;
const startPollMs = 20;
/** How long a sentinel of another release may take to end after `POST /end`. */
const endLimitMs = 5_000;

export interface SentinelLinkOptions {
  readonly call: SentinelCall;
  readonly processes: SentinelProcesses;
  readonly clock: Clock;
  /** Reports that a sentinel was replaced by another one, and why. */
  readonly onReplaced: (message: string) => void;
}

/** The part that the reports of all releases have. */
const guardingSchema = z.object({ volumes: z.record(z.string(), z.unknown()) });

/** A sentinel that can't be used by this release: it has to be ended, and another one started. */
class OtherReleaseError extends Error {
  override readonly name = 'OtherReleaseError';
}

/**
 * The connection to the sentinel. Finds the sentinel that runs, of whatever release, by its socket;
 * starts one if there is none; replaces one that belongs to another release or has a fault
 * (`Liveness`). A sentinel that works but does not answer is waited for: it may be fencing.
 *
 *     call ──► answer ───────────────────────────────────────────► report
 *       ├────► no such socket, or nobody listens ──► start one ──► call again
 *       ├────► error 400, another protocol ──► POST /end, start ─► call again
 *       └────► no answer ──► what the kernel shows ─┬─ works ────► call again, at most 3 times
 *                                                   └─ fault ────► kill, start, call again
 */
export class SentinelLink {
  readonly #options: SentinelLinkOptions;
  /** The processes that do not answer, by ID. */
  readonly #liveness = new Map<number, Liveness>();
  /** The sentinel that this process has started. */
  #ownPid: number | undefined;
  #answeredAt: number;

  constructor(options: SentinelLinkOptions) {
    this.#options = options;
    this.#answeredAt = options.clock.now();
  }

  /**
   * Gives the sentinel the watch, which is read again for each attempt: deadlines move meanwhile.
   * Resolves when the sentinel has it; rejects when no sentinel answers or can be started.
   */
  async tell(watch: () => WatchMessage): Promise<SentinelReport> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        const report = await this.#send(watch());
        this.#liveness.clear();
        this.#answeredAt = this.#options.clock.now();
        return report;
      } catch (error) {
        await this.#repair(error, attempt >= attempts);
      }
    }
  }

  /**
   * Gives the sentinel a change of the last watch. Rejects when it does not take the change, for
   * whatever reason: then it needs the whole watch, and `tell` finds out what is wrong.
   */
  async change(change: WatchChange): Promise<ChangeReport> {
    const answer = await this.#options.call('PATCH', '/watch', JSON.stringify(change));
    return changeReportSchema.parse(JSON.parse(answer));
  }

  /**
   * Returns false if no sentinel runs, or one that watches nothing. True also for one that does not
   * answer, or answers in an unknown way: `tell` handles it. Starts none.
   */
  async isGuarding(): Promise<boolean> {
    try {
      const { volumes } = guardingSchema.parse(JSON.parse(await this.#get()));
      return Object.keys(volumes).length > 0;
    } catch (error) {
      return !isAbsence(error);
    }
  }

  /** Ends the sentinel; what it has paused or frozen stays so. */
  async end(): Promise<void> {
    await this.#options.call('POST', '/end');
  }

  #get(): Promise<string> {
    return this.#options.call('GET', '/report');
  }

  async #send(watch: WatchMessage): Promise<SentinelReport> {
    let answer: string;
    try {
      answer = await this.#options.call('PUT', '/watch', JSON.stringify(watch));
    } catch (error) {
      if (!(error instanceof SentinelRefusal)) throw error;
      throw new OtherReleaseError(messageOf(error), { cause: error });
    }
    const report = readReport(answer);
    if (report.protocolVersion !== protocolVersion) {
      const { protocolVersion: other } = report;
      throw new OtherReleaseError(
        `the sentinel speaks protocol ${other}, and berth protocol ${protocolVersion}`,
      );
    }
    return report;
  }

  /** Makes another attempt useful, or throws. */
  async #repair(error: unknown, isLast: boolean): Promise<void> {
    if (isAbsence(error)) return await this.#fillAbsence(error, isLast);
    const found = await this.#options.processes.find();
    if (error instanceof OtherReleaseError) {
      // A fault of the sentinel of this release would be the same in the next one.
      const isOwn = found.some(({ pid }) => pid === this.#ownPid);
      if (isOwn || isLast) throw error;
      return await this.#replaceOther(found, error);
    }
    const faults = new Map(found.map((look) => [look, this.#faultOf(look)]));
    const faulty = found.filter((look) => faults.get(look) !== undefined);
    const [first] = faulty;
    if (first) await this.#replaceFaulty(faulty, faults.get(first) ?? '');
    else if (isLast) throw found[0] ? this.#busy(found[0], error) : error;
  }

  #faultOf(look: ProcessLook): string | undefined {
    const known = this.#liveness.get(look.pid) ?? new Liveness();
    this.#liveness.set(look.pid, known);
    return known.fault(look, this.#options.clock.now());
  }

  /** Starts a sentinel because nobody listens on the socket. */
  async #fillAbsence(error: unknown, isLast: boolean): Promise<void> {
    const found = await this.#options.processes.find();
    if (isLast) throw error;
    if (found.length === 0) {
      log('no sentinel answers (%s): starting one', error);
      return await this.#start();
    }
    // Another process may have started one meanwhile.
    const isServed = await this.#get().then(
      () => true,
      (again) => !isAbsence(again),
    );
    if (!isServed) await this.#replaceFaulty(found, 'its socket was removed or replaced');
  }

  async #replaceOther(found: readonly ProcessLook[], reason: Error): Promise<void> {
    log('replacing the sentinel of another release: %s', reason.message);
    await this.end().catch((error) => log('the sentinel of another release: %s', error));
    for (const look of found) {
      const hasEnded = await this.#options.processes.hasEnded(look, endLimitMs);
      if (!hasEnded) await this.#options.processes.kill(look);
    }
    await this.#start();
    this.#replaced(`replaced a sentinel of another release: ${reason.message}`);
  }

  async #replaceFaulty(found: readonly ProcessLook[], why: string): Promise<void> {
    const pids = found.map(({ pid }) => pid).join(', ');
    log('WARNING replacing the sentinel (pid %s): %s', pids, why);
    for (const look of found) await this.#options.processes.kill(look);
    await this.#start();
    this.#replaced(`replaced the sentinel (process ${pids}), which did not answer: ${why}`);
  }

  #replaced(message: string): void {
    this.#liveness.clear();
    this.#options.onReplaced(message);
  }

  /** Starts a sentinel; resolves when one listens. */
  async #start(): Promise<void> {
    const { processes, clock } = this.#options;
    const child = processes.start();
    const end = clock.now() + startLimitMs;
    while (clock.now() < end) {
      await clock.sleep(startPollMs);
      try {
        await this.#get();
        this.#ownPid = child.pid;
        return;
      } catch (error) {
        // 1: another one listens already. Null: it has not ended.
        const { exitCode } = child;
        if (exitCode === null || exitCode === 1) continue;
        const message = `the sentinel ended with exit code ${exitCode}; ${seeLog}`;
        throw new Error(message, { cause: error });
      }
    }
    throw new Error(`the sentinel does not start; ${seeLog}`);
  }

  #busy({ pid }: ProcessLook, cause: unknown): Error {
    const silentMs = this.#options.clock.now() - this.#answeredAt;
    const message =
      `the sentinel (process ${pid}) works, but has not answered for ` +
      `${Math.round(silentMs / 1_000)} s; it may be stopping containers`;
    return new Error(message, { cause });
  }
}

const seeLog = 'see sentinel.log in the state directory';

function isAbsence(error: unknown): boolean {
  return hasCode(error, 'ENOENT', 'ECONNREFUSED');
}

function readReport(answer: string): SentinelReport {
  try {
    return reportSchema.parse(JSON.parse(answer));
  } catch (error) {
    throw new OtherReleaseError("the sentinel's report is not one of this release", {
      cause: error,
    });
  }
}
