import { createHash } from 'node:crypto';
import { link, mkdir, readdir, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import createDebug from 'debug';
import { hasCode } from '../../../linux/error-code.ts';
import { UnavailableError } from '../../errors.ts';
import type { DriverContext } from '../driver.ts';
import { exists, noSecondName } from '../shared/storage-files.ts';

const debug = createDebug('berth:driver');

/*
 * A host may be frozen at any step of its work on a volume, lose its lock, and go on when its successor
 * has mounted the volume. A rename of the frozen host would then replace the successor's image, and a
 * mount would open it. A question to the store right before such a step is not enough: the host may be
 * frozen between the answer and the step. So each holder of the lock works on a **stage**, a directory of
 * its own in the volume's directory, and each successor removes it first:
 *
 *     1. make .stage-TOKEN, remove all other stages
 *     2. prepare on the stage: a second name of the present image, a clone
 *     3. ask the store whether the lock is still held
 *     4. the steps that count, each of which takes a name from the stage: rename, mount
 *
 * | the host is frozen | and goes on after its successor has finished                                |
 * |--------------------|-----------------------------------------------------------------------------|
 * | before or in 1     | it meets a stage with a larger token, and asks the store: no. It has        |
 * |                    | removed only stages with smaller tokens                                     |
 * | in 2, before 3     | it works on names of its own, and reads; the store says no in step 3        |
 * | in 3, before or in | its stage is gone, so each rename and mount fails: there is no such file.   |
 * | 4                  | What it did before was done before the successor had cloned, and its claim  |
 * |                    | made the successor clone: it reaches only the inode that was put aside      |
 * | after 4            | it removes its own stage, which is gone                                     |
 *
 * The successor clones after step 1 of its own, so a rename that comes before that step is part of what
 * it clones. A file server carries requests out in an order of its own; it is the same argument there.
 *
 * The stage lies in the directory of the image. A client of a network file system trusts what it knows
 * of a directory for some time; it asks its server again when it has made a name there that the server
 * has seen beside other changes. So what follows step 1 sees the image of the last takeover.
 */

const prefix = '.stage-';
const tagDigits = 16;
const tagged = new RegExp(`/\\.stage-\\d+\\.([0-9a-f]{${tagDigits}})/[^/]+$`);

/** Returns the tag of a daemon by its identity; the same after a restart. */
export function ownerTag(owner: string): string {
  return createHash('sha256').update(owner).digest('hex').slice(0, tagDigits);
}

/**
 * Finds the tag of a daemon in the path of a file on its stage, as the kernel shows it. The kernel adds
 * ` (deleted)` when the name is gone, and NFS gives the file another name in its directory.
 */
export function ownerTagIn(path: string): string | undefined {
  return tagged.exec(path)?.[1];
}

/**
 * Makes the stage of the present holder of a volume's lock, empty, and removes those of others. Returns
 * its path. Rejects the error of the lock if another host has come later. After a crash, the stage stays
 * until the next one is made. With `owner`, the identity of this daemon, its name tells whose it is
 * (own-devices.ts).
 */
export async function enterStage(
  home: string,
  { lock }: DriverContext,
  owner?: string,
): Promise<string> {
  const tag = owner === undefined ? '' : `.${ownerTag(owner)}`;
  const stage = join(home, `${prefix}${lock?.token ?? 0}${tag}`);
  await mkdir(stage, { mode: 0o700 }).catch(async (error) => {
    if (!hasCode(error, 'EEXIST')) throw error;
    await rm(stage, { recursive: true, force: true }); // This lock's: an attempt before has ended.
    await mkdir(stage, { mode: 0o700 });
  });
  const others = (await stagesIn(home)).filter((name) => name !== basename(stage));
  // A larger token may also be of another past of the store, of which the store knows nothing any more.
  if (others.some((name) => !(tokenOf(name) < (lock?.token ?? 0)))) {
    await lock?.confirm().catch(async (error) => {
      await leaveStage(stage);
      throw error;
    });
  }
  for (const other of others) await rm(join(home, other), { recursive: true, force: true });
  return stage;
}

/** Removes a stage. What can't be removed stays until the next stage is made. */
export async function leaveStage(stage: string): Promise<void> {
  await rm(stage, { recursive: true, force: true }).catch((error) => {
    debug('leave stage=%s %o', stage, error);
  });
}

/** Runs `work` on a stage, and removes the stage. */
export async function onStage<T>(
  home: string,
  context: DriverContext,
  work: (stage: string) => Promise<T>,
): Promise<T> {
  const stage = await enterStage(home, context);
  try {
    return await work(stage);
  } finally {
    await leaveStage(stage);
  }
}

/** Runs a step that takes a name from a stage. Says what it means that the stage is gone. */
export async function fromStage<T>(stage: string, step: () => Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (error) {
    if (await exists(stage)) throw error;
    throw new UnavailableError(
      'another host has got the volume while this one stood still; this one changes nothing of it',
      { cause: error },
    );
  }
}

/**
 * Gives the image a name on a stage, which names this daemon. The stage stays while the image is mounted,
 * because the kernel shows that name (`losetup`); the next stage ends it. Undefined: the pool has no room for a name, is read-only,
 * or knows no second names of a file.
 */
export async function stagedImage(
  home: string,
  image: string,
  { owner, context }: { readonly owner: string | undefined; readonly context: DriverContext },
): Promise<string | undefined> {
  try {
    const stage = await enterStage(home, context, owner);
    const staged = join(stage, basename(image));
    await link(image, staged);
    return staged;
  } catch (error) {
    if (!hasCode(error, ...unstaged)) throw error;
    debug('no stage in %s: %o', home, error);
    return undefined;
  }
}

const unstaged = ['ENOSPC', 'EDQUOT', 'EROFS', ...noSecondName] as const;

async function stagesIn(home: string): Promise<string[]> {
  return (await readdir(home)).filter((name) => name.startsWith(prefix));
}

function tokenOf(name: string): number {
  return Number(/^\d+/.exec(name.slice(prefix.length))?.[0]);
}
