import type { BigIntStats } from 'node:fs';
import { link, mkdir, open, rename, stat, unlink } from 'node:fs/promises';
import { basename, join } from 'node:path';
import createDebug from 'debug';
import { hasCode } from '../../../linux/error-code.ts';
import { ProgramError, run } from '../../../linux/run.ts';
import { replaceFile } from '../../../linux/state-file.ts';
import { never } from '../../../running/never.ts';
import { UnavailableError } from '../../errors.ts';
import type { DriverContext, DriverTakeover } from '../driver.ts';
import { childPath } from '../shared/child-path.ts';
import { confirmed } from '../shared/confirmed.ts';
import { copyFile, fileBytes } from '../shared/copy.ts';
import { exists, syncPath } from '../shared/storage-files.ts';
import { withTemporary } from '../shared/temporary.ts';
import type { FormerOwner, PutAside, TakeoverAbility } from '../takeover.ts';
import { notesText, readNotes } from './aside-notes.ts';
import { lateBytes } from './late-writes.ts';
import { asidesOf, imageName, namesIn } from './places.ts';
import { fromStage, onStage } from './stage.ts';

const debug = createDebug('berth:driver');

/*
 * The taking over of an image. The former owner's kernel has the file open, not its name: what it
 * writes later goes to that inode. So the volume gets a new inode with the same content.
 *
 *     .stage-TOKEN/former.img      1. a second name of the old inode
 *     .stage-TOKEN/volume.img      2. a clone of it (or a full copy), made in .tmp-…
 *     .stage-TOKEN/before.img      3. a clone of that clone, if the file system can, to compare with later
 *     .stage-TOKEN/notes.json      4. what is known of the former owner, and the time of the last write
 *                                  5. the store says that the lock is still held
 *     aside/HOST.TOKEN.MARK.json   6. the notes, renamed
 *     aside/HOST.TOKEN.MARK.before 7. the clone to compare with, renamed
 *     aside/HOST.TOKEN.MARK.img    8. the second name of the old inode, renamed
 *     volume.img                   9. the clone, renamed: one step
 *
 * After a crash before step 9 the volume has its old inode, and a repeat goes through all steps again.
 * The inode behind the name `aside/….img` tells whether step 9 has been done. stage.ts says why a host
 * that is frozen at any step, and goes on after its successor, does no harm.
 *
 * A clone (FICLONE) is of one moment, whatever writes meanwhile: the file system locks both files. A
 * full copy is not, so it is repeated if the file has been written to while it was copied.
 */

export function imageTakeover(base: string): DriverTakeover {
  let known: TakeoverAbility | undefined;
  /** The bytes found in each file, by its path, with the state of the file then. */
  const compared = new Map<string, { readonly state: string; readonly late: number }>();

  /** Counts what was written to `path` since the takeover. Undefined: not known. */
  async function written(stem: string, path: string, { mtimeNs, size }: BigIntStats) {
    const state = `${mtimeNs} ${size}`;
    const earlier = compared.get(path);
    if (earlier?.state === state) return earlier.late;
    const before = `${stem}.before`;
    const clone = (from: string, to: string) => isCloned(from, to, { signal: never });
    if (!(await exists(before))) return undefined;
    const late = await lateBytes(base, before, path, clone).catch((error) => {
      debug('compare path=%s %o', path, error); // A full or read-only pool: it is not known.
      return undefined;
    });
    if (late === undefined) return undefined;
    compared.set(path, { state, late });
    return late;
  }

  return {
    async ability({ isNeeded }) {
      if (known !== undefined) return known;
      if (!isNeeded && !(await exists(base))) return undefined;
      known = (await canClone(base)) ? 'at-once' : 'full-copy';
      return known;
    },

    async takeOver(volume, former, context) {
      context.signal.throwIfAborted();
      const home = childPath(base, volume.name);
      await onStage(home, context, async (stage) => {
        const image = join(home, imageName);
        const asides = asidesOf(base, volume);
        const name = `${former.host}.${former.token}.${former.mark}`;
        const at = (suffix: string) =>
          childPath(asides, `${name}.${suffix}`, { mayBeHidden: true });
        const [aside, notes] = [at('img'), at('json')];
        if (await isDone(aside, image)) return;
        const prepared = await prepare(base, stage, image, former, context);
        await makeIfMissing(asides); // A takeover that fails before leaves nothing.
        await confirmed(context);
        await fromStage(stage, async () => {
          await rename(prepared.notes, notes);
          if (prepared.before) await rename(prepared.before, at('before'));
          await rename(prepared.old, aside); // Without effect if a crash has left that name.
          await syncPath(asides);
          await rename(prepared.clone, image);
        });
        await syncPath(home);
      });
    },

    async putAside(volume) {
      const asides = asidesOf(base, volume);
      const names = await namesIn(asides);
      const found: PutAside[] = [];
      for (const name of names.filter((file) => file.endsWith('.img'))) {
        const path = join(asides, name);
        const stem = path.slice(0, -'.img'.length);
        const notes = await readNotes(`${stem}.json`);
        const now = await freshStat(path);
        const { mtime, mtimeNs, size } = now;
        const isSame = notes && notes.mtimeNs === String(mtimeNs) && notes.size === String(size);
        const late = isSame ? 0 : notes && (await written(stem, path, now));
        found.push({
          mark: notes?.mark ?? markOf(name),
          host: notes?.host ?? name,
          token: notes?.token ?? 0,
          since: notes?.at ?? mtime.toISOString(),
          path,
          bytes: await fileBytes(path),
          writtenAt: late === 0 ? undefined : mtime.toISOString(),
          writtenBytes: late === 0 ? undefined : late,
        });
      }
      return found;
    },

    async discard(volume, mark, { signal }) {
      signal.throwIfAborted();
      const asides = asidesOf(base, volume);
      const names = await namesIn(asides);
      // The notes go last: without them, nobody knows whether the file was written to.
      for (const suffix of [`.${mark}.img`, `.${mark}.before`, `.${mark}.json`]) {
        for (const name of names.filter((file) => file.endsWith(suffix))) {
          await unlink(join(asides, name));
        }
      }
    },
  };
}

function markOf(name: string): string {
  return basename(name, '.img').split('.').at(-1) ?? name;
}

async function makeIfMissing(directory: string): Promise<void> {
  await mkdir(directory, { mode: 0o700 }).catch((error) => {
    if (!hasCode(error, 'EEXIST')) throw error;
  });
}

/** True if the old inode has the name `aside`, and the volume has another one. */
async function isDone(aside: string, image: string): Promise<boolean> {
  if (!(await exists(aside))) return false;
  const [old, now] = [await stat(aside, { bigint: true }), await stat(image, { bigint: true })];
  return old.ino !== now.ino;
}

/** Makes on a stage everything that the takeover then gives its name. */
async function prepare(
  base: string,
  stage: string,
  image: string,
  former: FormerOwner,
  context: DriverContext,
) {
  const old = join(stage, 'former.img');
  const clone = join(stage, imageName);
  const notes = join(stage, 'notes.json');
  return fromStage(stage, async () => {
    await link(image, old);
    await withTemporary(base, async (temporary) => {
      const made = join(temporary, imageName);
      const state = await cloneOf(old, made, context);
      await replaceFile(notes, notesText(former, state));
      await rename(made, clone);
    });
    const before = join(stage, 'before.img');
    return {
      ...{ old, clone, notes },
      before: (await isCloned(clone, before, context)) ? before : undefined,
    };
  });
}

/** How often a full copy is made before the former owner counts as one that goes on writing. */
const copies = 3;

/** Makes a clone of one moment, or else a copy; returns the state of the source then. */
async function cloneOf(image: string, to: string, context: DriverContext) {
  for (let attempt = 1; ; attempt += 1) {
    const before = await freshStat(image);
    if (await isCloned(image, to, context)) {
      await syncPath(to);
      return before;
    }
    await copyFile(image, to, context);
    await syncPath(to);
    const after = await freshStat(image);
    if (after.mtimeNs === before.mtimeNs && after.size === before.size) return before;
    if (attempt === copies) {
      throw new UnavailableError(
        `the former owner writes to ${image} while it is copied, so that the copy would not be of one ` +
          'moment; end that host, or use a pool with reflinks (xfs, btrfs)',
      );
    }
    await unlink(to);
  }
}

async function isCloned(from: string, to: string, { signal }: DriverContext): Promise<boolean> {
  try {
    const args = ['--reflink=always', '--no-target-directory', from, to];
    await run('cp', args, { signal, dieWithParent: true });
    return true;
  } catch (error) {
    if (!isUnsupported(error)) throw error;
    await unlink(to).catch((reason) => {
      if (!hasCode(reason, 'ENOENT')) throw reason;
    });
    return false;
  }
}

function isUnsupported(error: unknown): boolean {
  if (!(error instanceof ProgramError) || error.exitCode !== 1) return false;
  return /failed to clone .*(not supported|Invalid cross-device link|Invalid argument|Inappropriate ioctl)/i.test(
    error.output.stderr,
  );
}

/** Opens the file first: a network file system then asks its server. */
async function freshStat(path: string) {
  await using file = await open(path, 'r');
  return await file.stat({ bigint: true });
}

const probeBytes = 4096;

/** Tries to clone a small file in the pool. */
async function canClone(base: string): Promise<boolean> {
  return withTemporary(base, async (temporary) => {
    const [one, other] = [join(temporary, 'probe'), join(temporary, 'clone')];
    {
      await using file = await open(one, 'wx', 0o600);
      await file.write(Buffer.alloc(probeBytes, 1));
      await file.sync();
    }
    return await isCloned(one, other, { signal: never });
  });
}
