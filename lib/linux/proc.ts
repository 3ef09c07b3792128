import { closeSync, openSync, readdirSync, readFileSync, readlinkSync, readSync } from 'node:fs';
import { readdir, readFile, readlink } from 'node:fs/promises';
import { hasCode } from './error-code.ts';

/*
 * What /proc says of processes. Each of them may end while it is looked at, and some may not be
 * looked at: those reads answer undefined. Any other error, such as too many open files, is thrown,
 * so that "nobody uses it" is never concluded from a failed read.
 *
 * The functions that end in `Sync` are for a scan of all processes when time is short: it must not
 * give up the processor between the thousands of files that it reads.
 */

/** A process, or one of its threads. */
export type ProcessId = number | 'self' | `${number}/task/${string | number}`;

export interface ProcessStat {
  /** `Z`: a zombie, which its parent has not collected yet; `X`: dead. */
  readonly state: string;
  readonly parent: number;
  /** When the process started, in clock ticks since boot: tells it from a later one with its ID. */
  readonly started: string;
  /** The processor time that all its threads have used, in clock ticks. */
  readonly usedTicks: number;
}

/** Returns the IDs of all processes that this one sees. */
export async function processIds(): Promise<number[]> {
  return idsIn(await readdir('/proc'));
}

export function processIdsSync(): number[] {
  return idsIn(readdirSync('/proc'));
}

/** Returns the threads of a process; none if it has ended. */
export function threadsOfSync(pid: number): ProcessId[] {
  const names = ifSeenSync(() => readdirSync(`/proc/${pid}/task`)) ?? [];
  return names.map((name): ProcessId => `${pid}/task/${name}`);
}

/** Reads one of a process's files, such as `mountinfo` or `cgroup`. */
export function processFile(pid: ProcessId, name: string): Promise<string | undefined> {
  return ifSeen(readFile(`/proc/${pid}/${name}`, 'utf8'));
}

export function processFileSync(pid: ProcessId, name: string): string | undefined {
  return ifSeenSync(() => readFileSync(`/proc/${pid}/${name}`, 'utf8'));
}

/**
 * Reads a short file of a process, such as `schedstat`, in a third of the time: the text is cut off
 * at 4 KiB.
 */
export function shortProcessFileSync(pid: ProcessId, name: string): string | undefined {
  return ifSeenSync(() => readShortFile(`/proc/${pid}/${name}`));
}

const page = Buffer.alloc(4096);

/** Reads at most 4 KiB of a file of /proc. */
export function readShortFile(path: string): string {
  const descriptor = openSync(path, 'r');
  try {
    return page.toString('latin1', 0, readSync(descriptor, page, 0, page.length, null));
  } finally {
    closeSync(descriptor);
  }
}

/** Returns the threads of a process, the first among them; none if it has ended. */
export function threadIdsSync(pid: number): number[] {
  return idsIn(ifSeenSync(() => readdirSync(`/proc/${pid}/task`)) ?? []);
}

/** Returns a name that is the same for all processes in one namespace of this kind. */
export function namespaceOf(pid: ProcessId, kind: NamespaceKind): Promise<string | undefined> {
  return ifSeen(readlink(`/proc/${pid}/ns/${kind}`));
}

export function namespaceOfSync(pid: ProcessId, kind: NamespaceKind): string | undefined {
  return ifSeenSync(() => readlinkSync(`/proc/${pid}/ns/${kind}`));
}

export type NamespaceKind = 'mnt' | 'pid' | 'net';

/** Returns the program and its arguments; none for a kernel thread. */
export async function commandLineOf(pid: ProcessId): Promise<string[]> {
  const text = (await processFile(pid, 'cmdline')) ?? '';
  return text.split('\0').slice(0, -1);
}

/** Undefined when there is no such process; throws when it may not be looked at. */
export function processStatSync(pid: ProcessId): ProcessStat | undefined {
  try {
    return parseProcessStat(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ESRCH')) return undefined;
    throw error;
  }
}

/** Reads the text of /proc/PID/stat (proc_pid_stat(5)). */
export function parseProcessStat(text: string): ProcessStat {
  // The name, field 2, stands in brackets and may hold blanks and brackets itself.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const [state, parent, started] = [fields[0], fields[1], fields[19]];
  if (state === undefined || parent === undefined || started === undefined) {
    throw new Error(`not the status of a process: ${JSON.stringify(text)}`);
  }
  const usedTicks = Number(fields[11]) + Number(fields[12]);
  return { state, parent: Number(parent), started, usedTicks };
}

/** EINVAL: a zombie has no namespaces. */
const unseen = ['ENOENT', 'ESRCH', 'EINVAL', 'EACCES', 'EPERM'];

/** Resolves to undefined when what is read in /proc has gone, or may not be looked at. */
export async function ifSeen<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading;
  } catch (error) {
    if (hasCode(error, ...unseen)) return undefined;
    throw error;
  }
}

export function ifSeenSync<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (hasCode(error, ...unseen)) return undefined;
    throw error;
  }
}

function idsIn(entries: readonly string[]): number[] {
  return entries.filter((entry) => /^\d+$/.test(entry)).map(Number);
}
