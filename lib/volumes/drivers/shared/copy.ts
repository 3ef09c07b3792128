import { stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { ProgramError, run } from '../../../linux/run.ts';
import type { DriverContext } from '../driver.ts';

/**
 * Copies of directories and files. A copy costs nothing where the file system can share blocks
 * (btrfs, xfs), reports progress where it can't, and ends with this process.
 *
 * Both functions write to a path that must not exist, in a temporary place: when they reject, a
 * part of the copy may be there, and nothing writes to it any more.
 */

/**
 * Copies a directory with owners, modes, times, extended attributes, hard links and holes. The
 * directory may be in use: files that vanish while it is read are left out.
 */
export async function copyTree(from: string, to: string, context: DriverContext): Promise<void> {
  await withProgress(
    {
      total: (signal) => treeBytes(from, { signal }),
      done: (signal) => treeBytes(to, { signal }),
    },
    context,
    async () => {
      try {
        await cp(['--archive', '--reflink=auto', '--no-target-directory', from, to], context);
      } catch (error) {
        if (!isOnlyVanishedFiles(error)) throw error;
      }
    },
  );
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
    { total: () => fileBytes(from), done: () => fileBytes(to) },
    context,
    async () => {
      await cp([reflink, '--sparse=always', '--no-target-directory', from, to], context);
    },
  );
}

/** Measures how much a directory occupies on the disk; hard links count once. */
export async function treeBytes(
  path: string,
  limits: { readonly signal?: AbortSignal; readonly timeoutMs?: number },
): Promise<number> {
  const args = ['-s', '--block-size=1', '--', path];
  const { stdout } = await run('du', args, limits).catch(totalDespiteVanishedFiles);
  return Number.parseInt(stdout, 10);
}

/** Measures how much a file occupies on the disk. */
export async function fileBytes(path: string): Promise<number> {
  return (await stat(path)).blocks * 512;
}

function cp(args: readonly string[], { signal }: DriverContext) {
  return run('cp', args, { signal, dieWithParent: true });
}

interface Measure {
  total(signal: AbortSignal): Promise<number>;
  done(signal: AbortSignal): Promise<number>;
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
  const reporting = report();
  try {
    await copy();
  } finally {
    finished.abort();
    await reporting;
  }

  async function report() {
    let totalBytes: number | undefined;
    let doneBytes = 0;
    let waitMs = firstReportAfterMs;
    while (await unlessFinished(waitMs)) {
      const start = performance.now();
      try {
        totalBytes ??= await measure.total(finished.signal);
        doneBytes = Math.max(doneBytes, Math.min(await measure.done(finished.signal), totalBytes));
      } catch {
        // The copy has not begun, or has just ended: there is nothing to measure.
        continue;
      }
      if (!finished.signal.aborted) onProgress?.({ doneBytes, totalBytes });
      waitMs = Math.max(firstReportAfterMs, (performance.now() - start) / measuringShare);
    }
  }

  /** Waits; false when the copy has ended. */
  function unlessFinished(ms: number): Promise<boolean> {
    return sleep(ms, true, { signal: finished.signal }).catch(() => false);
  }
}

const vanished =
  /^cp: (cannot (stat|access|open|read symbolic link) .*: No such file or directory|skipping file .*, as it was replaced while being copied)$/;

function isOnlyVanishedFiles(error: unknown): boolean {
  if (!(error instanceof ProgramError) || error.exitCode !== 1) return false;
  const complaints = error.output.stderr.trim().split('\n');
  return complaints.every((line) => vanished.test(line));
}

/** Accepts the total that `du` prints although files vanished while it counted. */
function totalDespiteVanishedFiles(error: unknown): { readonly stdout: string } {
  if (error instanceof ProgramError && error.exitCode === 1 && error.output.stdout !== '') {
    return error.output;
  }
  throw error;
}
