import { spawnSync } from 'node:child_process';
import type { ControlGroup } from './control-group.ts';
import {
  childOf,
  childrenOf,
  controlGroupIn,
  makeGroup,
  moveTo,
  nameOf,
  processesOf,
  removeGroup,
} from './control-group.ts';
import { killGroup } from './control-group-kill.ts';
import { hasCode } from './error-code.ts';
import { readMounts } from './mountinfo.ts';
import { processFile, processIdsSync, processStatSync } from './proc.ts';

/**
 * A job: a command, and all processes that it has started, and theirs. It has a control group of its own
 * where this process may make one: no process leaves that by itself. Elsewhere the job is what descends
 * from the command, and a process whose parent has ended is not found any more.
 */
export interface Job extends Disposable {
  /** Starts the command; `start` returns its process ID. */
  start(start: () => number | undefined): void;
  /** Returns the processes that have not ended. */
  processes(): readonly number[];
  /** Sends a signal to each of them that this process may signal. */
  signal(signal: NodeJS.Signals): void;
  kill(): Promise<void>;
}

const groupPrefix = 'berth-run-';

export async function openJob(): Promise<Job> {
  const text = (await processFile('self', 'cgroup')) ?? '';
  const home = controlGroupIn(text, await readMounts());
  const own = home && childOf(home, `${groupPrefix}${process.pid}`);
  if (!home || !own || !mayUse(home, own)) return treeJob();
  sweep(home);
  return groupJob(home, own);
}

/**
 * Returns the program and its arguments that let the kernel kill a command at the death of this process:
 * nobody would end the command when its lock is lost. The kernel does not kill what the command has started,
 * nor a command that changes its user (setpriv(1)). It needs util-linux; elsewhere it is empty.
 */
export function tiedToThisProcess(env: NodeJS.ProcessEnv): readonly string[] {
  const tie = ['setpriv', '--pdeathsig', 'KILL', '--'];
  const [program = '', ...args] = [...tie, 'true'];
  return spawnSync(program, args, { stdio: 'ignore', env }).status === 0 ? tie : [];
}

function groupJob(home: ControlGroup, own: ControlGroup): Job {
  return {
    start: (start) => {
      // A child begins in the group of its parent, so that nothing is started outside.
      moveTo(own, process.pid);
      try {
        start();
      } finally {
        moveTo(home, process.pid);
      }
    },
    processes: () => processesOf(own),
    signal: (signal) => signalEach(processesOf(own), signal),
    kill: () => killGroup(own),
    [Symbol.dispose]: () => {
      removeGroup(own);
    },
  };
}

/** Returns a job without a control group. */
export function treeJob(): Job {
  let root: number | undefined;
  const processes = () => (root === undefined ? [] : treeOf(root));
  return {
    start: (start) => {
      root = start();
    },
    processes,
    signal: (signal) => signalEach(processes(), signal),
    kill: async () => signalEach(processes(), 'SIGKILL'),
    [Symbol.dispose]: () => {},
  };
}

/** Returns a process and all that descend from it, without those that have ended. */
function treeOf(root: number): number[] {
  const parents = new Map<number, number>();
  for (const pid of processIdsSync()) {
    const stat = processStatSync(pid);
    if (stat && !'ZX'.includes(stat.state)) parents.set(pid, stat.parent);
  }
  const tree = parents.has(root) ? [root] : [];
  for (const member of tree) {
    for (const [pid, parent] of parents) if (parent === member) tree.push(pid);
  }
  return tree;
}

/** Passes over those that have ended, and those of another user, which still count as processes of the job. */
function signalEach(pids: readonly number[], signal: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, signal);
    } catch (error) {
      if (!hasCode(error, 'ESRCH', 'EPERM')) throw error;
    }
  }
}

/** Makes the group, and tries whether this process may enter and leave it. */
function mayUse(home: ControlGroup, own: ControlGroup): boolean {
  let isMade = false;
  try {
    isMade = makeGroup(own);
    if (!isMade) return false;
    moveTo(own, process.pid);
    moveTo(home, process.pid);
    return true;
  } catch (error) {
    if (isMade) removeGroup(own);
    if (hasCode(error, 'EACCES', 'EPERM', 'EROFS', 'EBUSY', 'ENOTSUP', 'EOPNOTSUPP')) return false;
    throw error;
  }
}

/** Removes the empty groups of commands that were killed. */
function sweep(home: ControlGroup): void {
  for (const group of childrenOf(home)) {
    const pid = Number(nameOf(group).slice(groupPrefix.length));
    const isOurs = nameOf(group).startsWith(groupPrefix) && pid > 0;
    if (isOurs && processStatSync(pid) === undefined) removeGroup(group);
  }
}
