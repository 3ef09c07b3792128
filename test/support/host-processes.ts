import { open, readdir, readFile, readlink, rmdir, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { patience } from './processes.ts';

/**
 * Returns the function that kills every process of a host at once, like a power cut. It must be
 * called in the end. `pid` is a process in the host's network namespace, which stays open until
 * then: the kernel gives the number of a namespace that has ended to the next one, and that may be
 * another host's.
 */
export async function powerCutOf(pid: number, group: string): Promise<() => Promise<void>> {
  const opened = await open(`/proc/${pid}/ns/net`);
  let networkNamespace = await namespaceOf(pid);
  return async () => {
    await killAllProcesses(networkNamespace, group);
    if (networkNamespace !== undefined) {
      networkNamespace = undefined;
      await opened.close();
    }
  };
}

/**
 * Containers have network namespaces of their own, so they are found as descendants of the host's
 * processes and as members of its control group.
 */
async function killAllProcesses(networkNamespace: string | undefined, group: string) {
  const deadline = performance.now() + 10_000 * patience;
  const held = new Set<string>();
  for (;;) {
    const pids = await processesOf(networkNamespace, group);
    if (pids.size === 0) break;
    if (performance.now() > deadline) {
      throw new Error(`processes ${[...pids].join(', ')} of a host do not end`);
    }
    for (const pid of pids) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // The process has ended meanwhile.
      }
    }
    for (const directory of await heldGroupsOf(pids)) held.add(directory);
    for (const directory of [...(await controlGroups(group)), ...held]) await thaw(directory);
    await delay(20);
  }
  for (const directory of held) await removeTree(directory);
}

/** Returns the groups in which a sentinel held single processes or threads of the host. */
async function heldGroupsOf(pids: ReadonlySet<number>): Promise<string[]> {
  const all = await Promise.all((await hierarchies()).map(subdirectories));
  return all
    .flatMap((each) => each ?? [])
    .filter((path) => pids.has(Number(/\/berth-held-(\d+)(-\d+)?$/.exec(path)?.[1])));
}

/** Returns the root of each hierarchy of cgroup v1, and that of cgroup v2. */
async function hierarchies(): Promise<string[]> {
  const root = '/sys/fs/cgroup';
  return [root, ...((await subdirectories(root)) ?? [])];
}

export async function removeControlGroups(group: string): Promise<void> {
  for (const directory of await controlGroups(group)) {
    await removeTree(directory);
  }
}

async function processesOf(
  networkNamespace: string | undefined,
  group: string,
): Promise<Set<number>> {
  const found = new Set<number>();
  for (const directory of await controlGroups(group)) {
    for (const pid of await membersOf(directory)) found.add(pid);
  }
  const parents = new Map<number, number>();
  for (const entry of await readdir('/proc')) {
    const pid = Number(entry);
    if (Number.isNaN(pid)) continue;
    const { parent, state } = await statusOf(pid);
    if (state === 'Z') continue;
    parents.set(pid, parent);
    const isInside = networkNamespace && (await namespaceOf(pid)) === networkNamespace;
    if (isInside) found.add(pid);
  }
  for (let before = -1; before < found.size; ) {
    before = found.size;
    for (const [pid, parent] of parents) {
      if (found.has(parent)) found.add(pid);
    }
  }
  for (const pid of found) {
    if (!parents.has(pid)) found.delete(pid);
  }
  return found;
}

async function namespaceOf(pid: number): Promise<string | undefined> {
  // A process may end at any time, and a zombie has no namespaces left.
  return readlink(`/proc/${pid}/ns/net`).catch(() => undefined);
}

/** Returns false for a zombie, too: only its parent still sees it. */
export async function isAlive(pid: number): Promise<boolean> {
  return (await statusOf(pid)).state !== 'Z';
}

async function statusOf(pid: number): Promise<{ state: string; parent: number }> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => ') Z 0');
  // The command name before the closing parenthesis may contain anything, even spaces.
  const [state = 'Z', parent = '0'] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return { state, parent: Number(parent) };
}

/** Returns the group's directory in each hierarchy of cgroup v1, or its only one of cgroup v2. */
async function controlGroups(group: string): Promise<string[]> {
  const existing: string[] = [];
  for (const hierarchy of await hierarchies()) {
    if (basename(hierarchy) === group) continue;
    const candidate = join(hierarchy, group);
    if ((await subdirectories(candidate)) !== undefined) existing.push(candidate);
  }
  return existing;
}

async function membersOf(directory: string): Promise<number[]> {
  const text = await readFile(join(directory, 'cgroup.procs'), 'utf8').catch(() => '');
  const pids = text.split('\n').filter(Boolean).map(Number);
  for (const child of (await subdirectories(directory)) ?? []) {
    pids.push(...(await membersOf(child)));
  }
  return pids;
}

/** Thaws a group and its children: a frozen process does not die before it is thawed. */
async function thaw(directory: string): Promise<void> {
  for (const child of (await subdirectories(directory)) ?? []) await thaw(child);
  // One of the two files exists, or the group has been removed meanwhile.
  await writeFile(join(directory, 'freezer.state'), 'THAWED', { flag: 'r+' }).catch(() => {});
  await writeFile(join(directory, 'cgroup.freeze'), '0', { flag: 'r+' }).catch(() => {});
}

async function removeTree(directory: string): Promise<void> {
  for (const child of (await subdirectories(directory)) ?? []) {
    await removeTree(child);
  }
  for (let attempt = 1; ; attempt += 1) {
    try {
      await rmdir(directory);
      return;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ENOENT') return;
      // A group stays busy for a moment after its last process ended.
      if (code !== 'EBUSY' || attempt === 50) throw error;
      await delay(20);
    }
  }
}

async function subdirectories(directory: string): Promise<string[] | undefined> {
  const entries = await readdir(directory, { withFileTypes: true }).catch(() => undefined);
  return entries?.filter((entry) => entry.isDirectory()).map(({ name }) => join(directory, name));
}
