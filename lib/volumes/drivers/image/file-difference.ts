import type { FileHandle } from 'node:fs/promises';
import { open } from 'node:fs/promises';
import { ProgramError } from '../../../linux/run.ts';
import { fileBytes } from '../shared/copy.ts';
import { runOwn } from './programs.ts';

/** A part of a file, in bytes: `end` is the first byte after it. */
export interface Range {
  readonly start: number;
  readonly end: number;
}

/** Bytes are compared in units of a disk. */
export const sectorBytes = 512;

/** The most that is read where the file system does not tell which blocks two files share. */
const mostReadBytes = 2 ** 30;
const chunkBytes = 2 ** 20;

/**
 * Counts the sectors in which two files differ, outside of the ranges to ignore, in bytes. Reads only what the
 * files do not share. Undefined: the file system does not tell what they share, and they are too large to be read.
 */
export async function differingBytes(
  one: string,
  other: string,
  ignored: readonly Range[],
): Promise<number | undefined> {
  const extents = await Promise.all([extentsOf(one), extentsOf(other)]);
  const [first, second] = extents;
  if (!first || !second) {
    if ((await fileBytes(one)) + (await fileBytes(other)) > mostReadBytes) return undefined;
  }
  await using a = await open(one, 'r');
  await using b = await open(other, 'r');
  const end = Math.max((await a.stat()).size, (await b.stat()).size);
  const ranges = first && second ? unshared(first, second) : [{ start: 0, end }];
  let bytes = 0;
  for (const range of ranges) bytes += await countIn(range, a, b, ignored);
  return bytes;
}

/** Blocks of a file that lie together on the disk. */
export interface Extent extends Range {
  /** Where on the disk; undefined: not yet decided. */
  readonly at: number | undefined;
}

/** Reads the extents of a file (`filefrag` of e2fsprogs). Undefined: its file system does not tell them. */
async function extentsOf(path: string): Promise<Extent[] | undefined> {
  try {
    // -s: what is written, but not on the disk yet, has no place there. -b1: all figures in bytes.
    const { stdout } = await runOwn('filefrag', ['-s', '-v', '-b1', path], { dieWithParent: true });
    return parseExtents(stdout);
  } catch (error) {
    if (error instanceof ProgramError && error.exitCode !== undefined) return undefined;
    throw error;
  }
}

/** Reads lines as `0: 0..4095: 143360..147455: 4096: 1: shared`. */
export function parseExtents(text: string): Extent[] {
  const line = /^\s*\d+:\s*(\d+)\.\.\s*(\d+):\s*(\d+)\.\.\s*\d+:\s*\d+:\s*(?:\d+:)?\s*(\S*)\s*$/gm;
  return [...text.matchAll(line)].map(([, from, to, at, flags = '']) => ({
    start: Number(from),
    end: Number(to) + 1,
    at: /unknown|delalloc|inline|encoded|not_aligned/.test(flags) ? undefined : Number(at),
  }));
}

/** Lists what two files do not have at the same place of the disk. Holes of both are the same. Pure. */
export function unshared(one: readonly Extent[], other: readonly Extent[]): Range[] {
  const edges = [...new Set([...one, ...other].flatMap(({ start, end }) => [start, end]))];
  edges.sort((a, b) => a - b);
  const found: { start: number; end: number }[] = [];
  const [placeInOne, placeInOther] = [placesIn(one), placesIn(other)];
  for (const [index, start] of edges.slice(0, -1).entries()) {
    const end = edges[index + 1] ?? start;
    const [a, b] = [placeInOne(start), placeInOther(start)];
    if (a === b && a !== 'not known') continue;
    const last = found.at(-1);
    if (last?.end === start) last.end = end;
    else found.push({ start, end });
  }
  return found;
}

/** Returns a function that looks up, in rising order, where the byte of a file lies. */
function placesIn(extents: readonly Extent[]): (byte: number) => number | 'hole' | 'not known' {
  let index = 0;
  return (byte) => {
    while ((extents[index]?.end ?? Number.POSITIVE_INFINITY) <= byte) index += 1;
    const extent = extents[index];
    if (!extent || byte < extent.start) return 'hole';
    return extent.at === undefined ? 'not known' : extent.at + byte - extent.start;
  };
}

async function countIn(
  { start, end }: Range,
  a: FileHandle,
  b: FileHandle,
  ignored: readonly Range[],
): Promise<number> {
  let bytes = 0;
  for (let at = start; at < end; at += chunkBytes) {
    const length = Math.min(chunkBytes, end - at);
    const [one, other] = await Promise.all([readAt(a, at, length), readAt(b, at, length)]);
    if (one.equals(other)) continue;
    for (let sector = 0; sector < length; sector += sectorBytes) {
      const to = sector + sectorBytes;
      if (one.subarray(sector, to).equals(other.subarray(sector, to))) continue;
      const byte = at + sector;
      if (!ignored.some((range) => range.start <= byte && byte < range.end)) bytes += sectorBytes;
    }
  }
  return bytes;
}

/** Reads a part; bytes after the end of the file are zeros. */
async function readAt(file: FileHandle, at: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  for (let done = 0; done < length; ) {
    const { bytesRead } = await file.read(buffer, done, length - done, at + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return buffer;
}
