import { stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { pathOfLink, tooLong } from '../../lib/linux/link-paths.ts';
import { isInside } from '../../lib/linux/mount-namespaces.ts';
import { ifSeenSync } from '../../lib/linux/proc.ts';
import {
  descriptorsOf,
  isOpenAsDirectory,
  isOpenForWriting,
  openFileOf,
  placeAt,
  placeOfLink,
} from '../../lib/linux/task-files.ts';
import { holds } from './holdings.ts';
import type { Reading } from './readings.ts';
import { taskOf } from './readings.ts';

/** One of the links in /proc/PID that lead to what a task holds. */
export interface TaskLink {
  readonly path: string;
  /** One of the bits of `holds`. */
  readonly bit: number;
}

/** Returns the links of a task that lead into this mount. */
export function linksInto(reading: Reading, mountId: number): TaskLink[] {
  const task = taskOf(reading);
  const path = (link: string) => `/proc/${task}/${link}`;
  const places = (['root', 'cwd'] as const)
    .filter((link) => placeOfLink(task, link)?.mountId === mountId)
    .map((link) => ({ path: path(link), bit: holds.directory }));
  const files = (descriptorsOf(task) ?? []).flatMap((descriptor): TaskLink[] => {
    const file = openFileOf(task, descriptor);
    if (file?.mountId !== mountId) return [];
    const open = isOpenForWriting(file) ? holds.forWriting : holds.forReading;
    return [
      { path: path(`fd/${descriptor}`), bit: isOpenAsDirectory(file) ? holds.directory : open },
    ];
  });
  return [...places, ...files];
}

/** Paths, and the directories above them. */
export interface PathsAbove {
  /** Returns false if nothing that the task holds lies at or below this path. */
  has(path: string): boolean;
}

/** Returns the paths of what a task holds, and of each directory above. */
export function pathsAbove(reading: Reading): PathsAbove {
  const task = taskOf(reading);
  const links = ['root', 'cwd', ...(descriptorsOf(task) ?? []).map((each) => `fd/${each}`)];
  const paths = new Set<string>();
  for (const link of links) {
    let path = pathOfLink(`/proc/${task}/${link}`);
    if (path === tooLong) return { has: () => true };
    while (path !== undefined && !paths.has(path)) {
      paths.add(path);
      path = path === '/' ? undefined : dirname(path);
    }
  }
  return paths;
}

/**
 * Returns true if one of these bits of the task leads below a path of this mount. What has a path
 * that is too long to be read counts as below: the task reaches the whole mount anyway.
 */
export function leadsBelow(reading: Reading, mountId: number, path: string, bits: number): boolean {
  return linksInto(reading, mountId).some((link) => {
    if ((link.bit & bits) === 0) return false;
    const end = pathOfLink(link.path);
    return end === tooLong || isInside(end ?? '', path);
  });
}

/** Bounds a climb through directories that are moved meanwhile, and what a deep one costs. */
const deepest = 256;

/**
 * Returns true if a directory is this one or lies below it, in the same mount, or if it is so deep
 * that it may be.
 */
export function isBelowInode(link: string, inode: string): boolean {
  let path = link;
  let mountId: number | undefined;
  let last: string | undefined;
  for (let depth = 0; depth < deepest; depth += 1) {
    const here = ifSeenSync(() => placeAt(path));
    if (!here || here.mountId !== (mountId ?? here.mountId) || here.inode === last) return false;
    if (here.inode === inode) return true;
    mountId = here.mountId;
    last = here.inode;
    path = `${path}/..`;
  }
  return true;
}

/**
 * Asks for the devices of files. A file system that hangs keeps the question, and one of the few
 * threads that Node has for such questions, for ever: so few of them may be without an answer.
 */
export class DeviceQuestions {
  #unanswered = 0;

  /** Resolves to the device, `major:minor`; to undefined if there is no answer. */
  async deviceOf(path: string): Promise<string | undefined> {
    if (this.#unanswered >= mostUnanswered) return undefined;
    this.#unanswered += 1;
    const asked = stat(path).then(
      ({ dev }) => deviceName(dev),
      () => undefined,
    );
    const answered = asked.finally(() => {
      this.#unanswered -= 1;
    });
    return Promise.race([answered, delay(answerLimitMs, undefined, { ref: false })]);
  }
}

const mostUnanswered = 2;
const answerLimitMs = 200;

/** Splits a device number as the C library does. */
export function deviceName(dev: number): string {
  const number = BigInt(dev);
  const major = ((number >> 8n) & 0xfffn) | ((number >> 32n) & ~0xfffn);
  const minor = (number & 0xffn) | ((number >> 12n) & ~0xffn);
  return `${major}:${minor & 0xffffffffn}`;
}
