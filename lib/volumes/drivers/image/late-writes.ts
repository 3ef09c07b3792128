import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { ProgramError } from '../../../linux/run.ts';
import { withTemporary } from '../shared/temporary.ts';
import type { Range } from './file-difference.ts';
import { differingBytes, sectorBytes } from './file-difference.ts';
import { runOwn } from './programs.ts';

/*
 * What a former owner wrote after the takeover, by comparing its file with a clone of the takeover's moment.
 *
 * Its kernel also writes what is no news: an ext4 that is shut down marks the head of its journal, and when it is
 * unmounted, its blocks are written in place whose content the journal had before the takeover. So the journal
 * of both is replayed first, on clones of them, and neither the journal nor the superblock (times, counters and
 * errors; `struct ext4_super_block` in the kernel's Documentation/filesystems/ext4) is compared. What the former
 * owner committed later is then in both the files and the directories, and counts.
 *
 * The log of an xfs can be replayed only by a mount, so each sector of an xfs that differs counts.
 */

/** Makes a clone; false: the file system can't. */
export type MakeClone = (from: string, to: string) => Promise<boolean>;

/**
 * Counts the bytes of the image `now` that were written since it was as `before`, in whole sectors. Undefined: not
 * known, because the files can't be compared. Changes neither.
 */
export async function lateBytes(
  base: string,
  before: string,
  now: string,
  clone: MakeClone,
): Promise<number | undefined> {
  const raw = await differingBytes(before, now, []);
  if (raw === 0 || !(await isExt4(before))) return raw;
  return withTemporary(base, async (temporary) => {
    const [one, other] = [join(temporary, 'before.img'), join(temporary, 'now.img')];
    if (!(await clone(before, one)) || !(await clone(now, other))) return raw;
    try {
      for (const file of [one, other]) await replay(file);
      return await differingBytes(one, other, await ownBlocks(one));
    } catch (error) {
      if (error instanceof ProgramError) return raw; // Damaged: everything that differs counts.
      throw error;
    }
  });
}

/** The superblock of ext2, ext3 and ext4, and where its magic number lies. */
const superblock: Range = { start: 1_024, end: 2_048 };
const magicAt = 56;
const magic = 0xef53;

async function isExt4(path: string): Promise<boolean> {
  await using file = await open(path, 'r');
  const buffer = Buffer.alloc(sectorBytes);
  await file.read(buffer, 0, buffer.length, superblock.start);
  return buffer.readUInt16LE(magicAt) === magic;
}

/** Exit code 1 of e2fsck: something was corrected, as the replay is. */
async function replay(path: string): Promise<void> {
  const args = ['-p', '-E', 'journal_only', path];
  await runOwn('e2fsck', args, { dieWithParent: true }).catch((error) => {
    if (!(error instanceof ProgramError) || error.exitCode !== 1) throw error;
  });
}

/** The blocks that say nothing of what users wrote: the superblock and the journal. */
async function ownBlocks(path: string): Promise<Range[]> {
  const ask = (request: string) =>
    runOwn('debugfs', ['-R', request, path], { dieWithParent: true });
  const size = /^Block size:\s+(\d+)/m.exec((await ask('stats -h')).stdout)?.[1];
  const blocks = (await ask('blocks <8>')).stdout.match(/\d+/g) ?? []; // Inode 8 is the journal.
  const blockBytes = Number(size ?? superblock.start);
  const ranges: { start: number; end: number }[] = [];
  for (const block of blocks.map(Number).sort((a, b) => a - b)) {
    const [start, end] = [block * blockBytes, (block + 1) * blockBytes];
    const last = ranges.at(-1);
    if (last?.end === start) last.end = end;
    else ranges.push({ start, end });
  }
  return [superblock, ...ranges];
}
