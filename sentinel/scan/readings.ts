import { statSync } from 'node:fs';
import type { ProcessId } from '../../lib/linux/proc.ts';
import {
  ifSeenSync,
  namespaceOfSync,
  parseProcessStat,
  shortProcessFileSync,
  threadIdsSync,
} from '../../lib/linux/proc.ts';
import {
  descriptorsOf,
  isOpenAsDirectory,
  isOpenForWriting,
  openFileOf,
  placeOfLink,
} from '../../lib/linux/task-files.ts';
import type { Holdings } from './holdings.ts';
import { holds, SharedHoldings } from './holdings.ts';

/** The namespaces and open files of one task: a process, or one of its threads. */
export interface Reading {
  readonly pid: number;
  /** Set for a thread other than the first. */
  readonly tid?: number | undefined;
  readonly mountNamespace: string;
  readonly pidNamespace: string;
  /** Tasks of one view see the same mount table: a table shows only what is below the task's root. */
  readonly view: string;
  readonly holdings: Holdings;
}

export function taskOf({ pid, tid }: Pick<Reading, 'pid' | 'tid'>): ProcessId {
  return tid === undefined ? pid : `${pid}/task/${tid}`;
}

interface Remembered {
  /** Threads beside the first: another one can come only when one of these runs. */
  readonly threads: readonly number[];
  readonly signature: string;
  readonly readings: readonly Reading[];
}

/**
 * Reads processes, and remembers each reading for as long as none of the process's threads has run
 * since. A task that has not run has opened nothing, received no descriptor, and left no namespace
 * and no directory; so thousands of sleeping processes cost one short read each, whoever they belong
 * to. No process is left out for another reason: a descriptor can come from a parent, over a Unix
 * socket, or from /proc, so neither a container's namespaces nor its rights exclude that it has one.
 *
 * The signature is what the scheduler counts per thread: time on a processor and number of turns.
 * A turn counts from its beginning. A process with a thread that ran, or was ready to run, during the
 * reading is not remembered.
 *
 * Two processes that share one table of descriptors (clone(2) with CLONE_FILES, threads aside) are
 * read one by one: what one has opened is found with that one.
 */
export class Readings {
  #remembered = new Map<number, Remembered>();
  readonly #shared = new SharedHoldings();

  /** Forgets all processes but these. */
  keep(pids: readonly number[]): void {
    const kept = new Map<number, Remembered>();
    for (const pid of pids) {
      const remembered = this.#remembered.get(pid);
      if (remembered) kept.set(pid, remembered);
    }
    this.#remembered = kept;
    this.#shared.keep(
      [...kept.values()].flatMap(({ readings }) => readings.map((reading) => reading.holdings)),
    );
  }

  /** Returns the readings of a process: one, and one for each thread that differs; none if it ended. */
  at(pid: number): readonly Reading[] {
    const remembered = this.#remembered.get(pid);
    if (remembered && signatureOf(pid, remembered.threads) === remembered.signature) {
      return remembered.readings;
    }
    this.#remembered.delete(pid);
    const threads = threadsOf(pid);
    const signature = signatureOf(pid, threads);
    const readings = readingsAt(pid, threads).map((reading) => ({
      ...reading,
      holdings: this.#shared.of(reading.holdings),
    }));
    if (signature !== undefined && isAsleep(pid, threads)) {
      this.#remembered.set(pid, { threads, signature, readings });
    }
    return readings;
  }
}

/** Returns the threads beside the first one. */
function threadsOf(pid: number): readonly number[] {
  // The directory has a link for each thread, which is cheaper than to read it.
  const links = ifSeenSync(() => statSync(`/proc/${pid}/task`))?.nlink ?? 0;
  return links <= 3 ? [] : threadIdsSync(pid).filter((tid) => tid !== pid);
}

/** Undefined on a kernel that does not count, and for a process that has ended. */
function signatureOf(pid: number, threads: readonly number[]): string | undefined {
  let signature = '';
  for (const task of tasksOf(pid, threads)) {
    const counts = shortProcessFileSync(task, 'schedstat');
    if (counts === undefined) return undefined;
    signature += `${task} ${counts}`;
  }
  return signature;
}

function isAsleep(pid: number, threads: readonly number[]): boolean {
  return tasksOf(pid, threads).every((task) => {
    const text = shortProcessFileSync(task, 'stat');
    return text !== undefined && parseProcessStat(text).state !== 'R';
  });
}

function tasksOf(pid: number, threads: readonly number[]): ProcessId[] {
  return [pid, ...threads.map((tid): ProcessId => `${pid}/task/${tid}`)];
}

function readingsAt(pid: number, threads: readonly number[]): Reading[] {
  // The first thread may have ended before the others: the process is then seen by them alone.
  const own = descriptorsOf(pid);
  const first = read({ pid }, own);
  const readings = first ? [first] : [];
  for (const tid of threads) {
    const reading = read({ pid, tid }, differing(own, descriptorsOf(`${pid}/task/${tid}`)));
    if (reading && !readings.some((other) => isCovered(reading, other))) readings.push(reading);
  }
  return readings;
}

/**
 * Threads mostly share one table of descriptors: it is read once. The kernel doesn't say whether
 * they do; two tables with the same numbers are taken for one.
 */
function differing(own: string[] | undefined, other: string[] | undefined): string[] {
  return own && other && own.join() === other.join() ? [] : (other ?? []);
}

/** Returns true if a thread's reading adds nothing to another one's. */
function isCovered(reading: Reading, other: Reading): boolean {
  if (reading.view !== other.view) return false;
  return [...reading.holdings].every(
    ([id, bits]) => ((other.holdings.get(id) ?? 0) & bits) === bits,
  );
}

function read(
  { pid, tid }: Pick<Reading, 'pid' | 'tid'>,
  descriptors: readonly string[] | undefined,
): Reading | undefined {
  const task = taskOf({ pid, tid });
  const mountNamespace = namespaceOfSync(task, 'mnt');
  const pidNamespace = namespaceOfSync(task, 'pid');
  if (mountNamespace === undefined || pidNamespace === undefined) return undefined;
  const held = new Map<number, number>();
  const add = (id: number, bit: number) => held.set(id, (held.get(id) ?? 0) | bit);
  const [root, cwd] = [placeOfLink(task, 'root'), placeOfLink(task, 'cwd')];
  if (root) add(root.mountId, holds.directory);
  if (cwd) add(cwd.mountId, holds.directory);
  for (const descriptor of descriptors ?? []) {
    const file = openFileOf(task, descriptor);
    if (!file) continue;
    if (isOpenAsDirectory(file)) add(file.mountId, holds.directory);
    else add(file.mountId, isOpenForWriting(file) ? holds.forWriting : holds.forReading);
  }
  const view = `${mountNamespace} ${root?.mountId} ${root?.inode}`;
  return { pid, tid, mountNamespace, pidNamespace, view, holdings: held };
}
