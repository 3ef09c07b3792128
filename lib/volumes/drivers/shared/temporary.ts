import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, readdir, rename, stat, utimes } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import createDebug from 'debug';
import { hasCode } from '../../../linux/error-code.ts';
import { processStatSync } from '../../../linux/proc.ts';
import { thisProcess } from '../../../linux/process-identity.ts';
import { messageOf } from '../../../running/message-of.ts';
import type { DriverContext } from '../driver.ts';
import type { KeptLeftover, Leftover } from '../stored-volume.ts';
import { confirmed, keptIfConfirmed } from './confirmed.ts';
import { forgetNames } from './fresh-names.ts';
import {
  deleteTree,
  exists,
  putInPlace,
  removeEmpty,
  syncNames,
  syncPath,
} from './storage-files.ts';

const debug = createDebug('berth:driver');

/**
 * Temporary directories for storage that is half made or half deleted, on the file system of the
 * volumes, so that a rename completes the work. On a shared file system other hosts have theirs in
 * the same directory: the name says whose each is.
 */

const prefix = '.tmp-';

/** Receives what a person should know of storage that was left. */
type Tell = (message: string) => void;

function temporaryName(parent: string): string {
  return join(parent, `${prefix}${formatOwner(ownIdentity())}-${randomUUID()}`);
}
const abandonedAfterMs = 24 * 60 * 60 * 1000;
const sayAliveEveryMs = 60 * 60 * 1000;

/**
 * Makes a temporary directory in `parent`, passes it to `use`, and deletes it with what is still in
 * it. What can't be deleted (a file may be immutable) is a leftover, which `sweep` tries again, and
 * `tell` receives why. After a crash the directory stays until the next `sweep`.
 */
export async function withTemporary<T>(
  parent: string,
  use: (directory: string) => Promise<T>,
  tell?: Tell,
): Promise<T> {
  await mkdir(parent, { recursive: true, mode: 0o700 });
  const directory = await mkdtemp(join(parent, `${prefix}${formatOwner(ownIdentity())}-`));
  const alive = setInterval(() => {
    const now = new Date();
    utimes(directory, now, now).catch((error) => debug('touch directory=%s %o', directory, error));
  }, sayAliveEveryMs);
  alive.unref();
  try {
    return await use(directory);
  } finally {
    clearInterval(alive);
    await deleteTree(directory).catch(async (error) => {
      debug('clean directory=%s %o', directory, error);
      tell?.(keptMessage(await asLeftover(directory, parent), error));
    });
  }
}

/**
 * Makes a directory with its content in one step: `fill` gets it under a temporary name beside `final`,
 * and syncs the files that it makes. When this resolves, the directory survives a power cut. When it
 * rejects, nothing is there; after a crash, what was made stays until the next `sweep`.
 */
export async function makeInOneStep(
  final: string,
  fill: (directory: string) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const parent = dirname(final);
  const directory = temporaryName(parent);
  await mkdir(directory, { mode: 0o700 }).catch(async (error) => {
    if (!hasCode(error, 'ENOENT')) throw error;
    await mkdir(directory, { recursive: true, mode: 0o700 }); // The first volume makes the parent.
  });
  try {
    await fill(directory);
    await syncPath(directory); // Before the rename, or a power cut could leave an empty directory.
    signal.throwIfAborted();
    await putInPlace(directory, final);
  } catch (error) {
    await deleteTree(directory).catch((left) => debug('clean directory=%s %o', directory, left));
    throw error;
  }
}

/** The options of `discard`. */
interface DiscardOptions {
  readonly tell?: Tell;
  /** The directories in what is deleted that may be empty. */
  readonly names?: readonly string[];
}

/**
 * Deletes a file or directory that lies somewhere below `parent`. It loses its name in one step first,
 * so that nobody sees it half deleted, and needs no space for that, because a full disk must be emptied
 * like this. If the store says then that the caller's lock is lost, it gets its name again, and this
 * rejects: it is another's. Resolves also if there is nothing. When this resolves, a power cut can't bring
 * the name back. What can't be deleted (a file may be immutable) is a leftover from then on, which `sweep`
 * tries again, and `tell` receives why.
 */
export async function discard(
  path: string,
  parent: string,
  context: DriverContext,
  { tell, names = [] }: DiscardOptions = {},
): Promise<void> {
  context.signal.throwIfAborted();
  const trash = temporaryName(parent);
  try {
    await renameFresh(path, trash);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return;
    if (!hasCode(error, 'ENOSPC', 'EDQUOT')) throw error;
    // The directory `parent` has no room for one more name.
    await confirmed(context);
    await deleteTree(path);
    await syncPath(dirname(path));
    return;
  }
  await keptIfConfirmed(
    context,
    () => syncNames(path, trash),
    () => giveBack(trash, path),
  );
  try {
    const isGone = await removeEmpty(trash, names).catch(() => false); // `rm` goes on, and says why.
    if (!isGone) await deleteTree(trash);
  } catch (error) {
    tell?.(keptMessage(await asLeftover(trash, parent), error));
  }
}

/** Renames a path; one that this host does not know yet is looked for again. */
async function renameFresh(from: string, to: string): Promise<void> {
  try {
    await rename(from, to);
  } catch (error) {
    const parent = dirname(from);
    if (!hasCode(error, 'ENOENT') || !(await forgetNames([dirname(parent), parent]))) throw error;
    await rename(from, to);
  }
}

/** Undoes a rename. If something has got the name since, what was renamed stays as a leftover. */
async function giveBack(trash: string, path: string): Promise<void> {
  if (await exists(path)) {
    await asLeftover(trash, dirname(trash));
    return;
  }
  await rename(trash, path);
  await syncNames(trash, path);
}

function keptMessage(left: string, error: unknown): string {
  return (
    `a part of what was removed could not be deleted and lies in ${left} (${messageOf(error)}); make it ` +
    'deletable, then run: berth doctor --fix'
  );
}

/** Renames trash so that it does not look like work of this process; returns its path. */
async function asLeftover(trash: string, parent: string): Promise<string> {
  const owner = formatOwner({ ...ownIdentity(), startTime: '0' });
  const left = join(parent, `${prefix}${owner}-${randomUUID()}`);
  try {
    await rename(trash, left);
    return left;
  } catch (error) {
    debug('leave path=%s %o', trash, error); // It is a leftover when this process has ended.
    return trash;
  }
}

/**
 * Deletes what crashes left in `parent`: the temporary directories of processes of this machine that
 * have ended, and those of other machines that were not touched for a day. A directory that can't be
 * deleted stays, and is returned with the reason.
 */
export async function sweep(parent: string): Promise<KeptLeftover[]> {
  const kept: KeptLeftover[] = [];
  for (const each of await abandonedIn(parent)) {
    debug('sweep directory=%s', each.what);
    try {
      await deleteTree(each.what); // Another sweep may have been faster.
    } catch (error) {
      debug('sweep directory=%s %o', each.what, error);
      kept.push({ ...each, why: messageOf(error) });
    }
  }
  return kept;
}

/** Lists what `sweep` would delete. */
export async function abandonedIn(parent: string): Promise<Leftover[]> {
  const me = ownIdentity();
  const names = await readdir(parent).catch(() => []);
  const found: Leftover[] = [];
  for (const name of names.filter((entry) => entry.startsWith(prefix))) {
    const path = join(parent, name);
    try {
      if (!(await isAbandoned(path, parseOwner(name), me))) continue;
      found.push({ what: path, since: (await stat(path)).mtime.toISOString() });
    } catch (error) {
      debug('look at directory=%s %o', path, error); // Somebody deletes it just now.
    }
  }
  return found;
}

/** The pauses before each sweep: the process before, whose work was killed, may still be ending. */
const sweepPausesMs = [0, 1_000, 5_000];

/** Returns a function whose first call sweeps in the background, because a sweep may take long. */
export function sweeper(parent: string): () => void {
  let isSwept = false;
  return () => {
    if (isSwept) return;
    isSwept = true;
    sweepAgain(parent).catch((error) => debug('sweep parent=%s %o', parent, error));
  };
}

async function sweepAgain(parent: string): Promise<void> {
  for (const pauseMs of sweepPausesMs) {
    await sleep(pauseMs, undefined, { ref: false });
    await sweep(parent);
  }
}

/** A process, told apart from those of other machines, containers and boots. */
interface Owner {
  readonly bootId: string;
  /** The inode of its process ID namespace: a number means nothing in another. */
  readonly pidNamespace: string;
  readonly pid: string;
  /** The start in clock ticks since boot, because process IDs are used again. */
  readonly startTime: string;
}

async function isAbandoned(path: string, owner: Owner | undefined, me: Owner): Promise<boolean> {
  if (owner?.bootId === me.bootId && owner.pidNamespace === me.pidNamespace) {
    return processStatSync(Number(owner.pid))?.started !== owner.startTime;
  }
  return Date.now() - (await stat(path)).mtimeMs > abandonedAfterMs;
}

function ownIdentity(): Owner {
  const { boot, namespace, pid, started } = thisProcess();
  return {
    bootId: boot.replaceAll('-', ''),
    pidNamespace: namespace.replaceAll(/\D/g, ''),
    pid: String(pid),
    startTime: started,
  };
}

function formatOwner({ bootId, pidNamespace, pid, startTime }: Owner): string {
  return [bootId, pidNamespace, pid, startTime].join('.');
}

function parseOwner(name: string): Owner | undefined {
  const match = /^\.tmp-([0-9a-f]+)\.(\d+)\.(\d+)\.(\d+)-/.exec(name);
  const [, bootId, pidNamespace, pid, startTime] = match ?? [];
  if (bootId === undefined || pidNamespace === undefined) return undefined;
  if (pid === undefined || startTime === undefined) return undefined;
  return { bootId, pidNamespace, pid, startTime };
}
