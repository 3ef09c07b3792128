import { stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { ProgramError, run } from '../../../linux/run.ts';
import { copyProgram, lastProgress } from '../../../linux/tree/program.ts';
import { compileCacheVariable } from '../../../running/compile-cache.ts';
import type { DriverContext, Progress } from '../driver.ts';

/**
 * Copies of directories and files. A copy costs nothing where the file system can share blocks
 * (btrfs, xfs), reports progress where it can't, and ends with this process.
 *
 * Both functions write to a path that must not exist, in a temporary place: when they reject, a
 * part of the copy may be there, and nothing writes to it any more.
 */

/**
 * Copies a directory with all that it has (lib/linux/tree/README.md). It may be in use: whatever its users
 * exchange meanwhile, nothing from outside it is copied, and files that vanish are left out. Rejects if a name
 * could not be copied, and names it.
 */
export async function copyTree(from: string, to: string, context: DriverContext): Promise<void> {
  let done: Amount = { bytes: 0, files: 0 };
  const total = async (signal: AbortSignal) => ({
    bytes: await treeBytes(from, { signal }),
    files: await treeFiles(from, { signal }),
  });
  await withProgress({ total, done: async () => done }, context, async () => {
    const running = run(process.execPath, [copyProgram, from, to], {
      signal: context.signal,
      dieWithParent: true,
      env: compileCacheVariable(),
      onOutput: (text) => {
        done = lastProgress(text) ?? done;
      },
    });
    await running.catch(saidByCopy);
  });
}

/** Throws what the program of a copy says, without its name. */
function saidByCopy(error: unknown): never {
  const said = error instanceof ProgramError ? error.output.stderr.trim() : '';
  throw said === '' ? error : new Error(`the copy failed: ${said}`, { cause: error });
}

/**
 * Copies one large file; blocks of zeros become holes. Without `sharesBlocks` the copy has blocks of its
 * own also where the file system could share them.
 */
export async function copyFile(
  from: string,
  to: string,
  context: DriverContext,
  { sharesBlocks = true } = {},
): Promise<void> {
  const reflink = `--reflink=${sharesBlocks ? 'auto' : 'never'}`;
  await withProgress(
    { total: () => fileAmount(from), done: () => fileAmount(to) },
    context,
    async () => {
      const args = [reflink, '--sparse=always', '--no-target-directory', from, to];
      await run('cp', args, { signal: context.signal, dieWithParent: true });
    },
  );
}

interface Limits {
  readonly signal?: AbortSignal;
  readonly timeoutMs?: number;
}

/** Measures how much a directory occupies on the disk; hard links count once. */
export async function treeBytes(path: string, limits: Limits): Promise<number> {
  return await measured(['--block-size=1', '--', path], limits);
}

/** Counts the files and directories in a directory, with itself; hard links count once. */
async function treeFiles(path: string, limits: Limits): Promise<number> {
  return await measured(['--inodes', '--', path], limits);
}

/** Asks `du`, which follows no link and no exchanged directory: fts(3) compares the directories that it enters. */
async function measured(args: readonly string[], limits: Limits): Promise<number> {
  const { stdout } = await run('du', ['-s', ...args], limits).catch(totalDespiteVanishedFiles);
  return Number.parseInt(stdout, 10);
}

/** Measures how much a file occupies on the disk. */
export async function fileBytes(path: string): Promise<number> {
  return (await stat(path)).blocks * 512;
}

async function fileAmount(path: string): Promise<Amount> {
  return { bytes: await fileBytes(path), files: 1 };
}

interface Amount {
  readonly bytes: number;
  readonly files: number;
}

interface Measure {
  total(signal: AbortSignal): Promise<Amount>;
  done(signal: AbortSignal): Promise<Amount>;
}

const firstReportAfterMs = 200;

/** Measuring a large tree is work, too: it takes at most this part of the time. */
const measuringShare = 1 / 10;

async function withProgress(
  measure: Measure,
  { signal, onProgress }: DriverContext,
  copy: () => Promise<void>,
): Promise<void> {
  signal.throwIfAborted();
  if (onProgress === undefined) return await copy();

  const finished = new AbortController();
  let last: Progress | undefined;
  const reporting = report();
  try {
    await copy();
  } finally {
    finished.abort();
    await reporting;
  }
  if (last !== undefined) onProgress(ended(last));

  async function report() {
    let total: Amount | undefined;
    let waitMs = firstReportAfterMs;
    while (await unlessFinished(waitMs)) {
      const start = performance.now();
      try {
        total ??= await measure.total(finished.signal);
        last = progressOf(await measure.done(finished.signal), total, last);
      } catch {
        // The copy has not begun, or has just ended: there is nothing to measure.
        continue;
      }
      if (!finished.signal.aborted) onProgress?.(last);
      waitMs = Math.max(firstReportAfterMs, (performance.now() - start) / measuringShare);
    }
  }

  /** Waits; false when the copy has ended. */
  function unlessFinished(ms: number): Promise<boolean> {
    return sleep(ms, true, { signal: finished.signal }).catch(() => false);
  }
}

/** Nothing goes back, and nothing exceeds the total, which was counted while the source was in use. */
function progressOf(done: Amount, total: Amount, before: Progress | undefined): Progress {
  return {
    doneBytes: Math.max(before?.doneBytes ?? 0, Math.min(done.bytes, total.bytes)),
    totalBytes: total.bytes,
    doneFiles: Math.max(before?.doneFiles ?? 0, Math.min(done.files, total.files)),
    totalFiles: total.files,
  };
}

function ended({ totalBytes, totalFiles }: Progress): Progress {
  return { doneBytes: totalBytes, totalBytes, doneFiles: totalFiles, totalFiles };
}

/** Accepts the total that `du` prints although files vanished while it counted. */
function totalDespiteVanishedFiles(error: unknown): { readonly stdout: string } {
  if (error instanceof ProgramError && error.exitCode === 1 && error.output.stdout !== '') {
    return error.output;
  }
  throw error;
}
