import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ControlGroup } from '../../lib/linux/control-group.ts';
import { hasCode } from '../../lib/linux/error-code.ts';
import { namespaceOfSync } from '../../lib/linux/proc.ts';
import type { ContainerGroup } from './container-group.ts';
import { containerIn } from './container-group.ts';
import type { ThisHost } from './this-host.ts';
import { containerOf } from './this-host.ts';

/** A container as one scan knows it. */
export interface ScannedContainer extends ContainerGroup {
  /** Undefined where the group can't be reached: then only the engine can act on the container. */
  readonly group: ControlGroup | undefined;
  readonly isOurs: boolean;
}

/**
 * Says which container a process belongs to. When it meets a container it reads the list of all its
 * processes from the control group, which costs less than to ask each of them.
 */
export class Containers {
  readonly #host: ThisHost;
  readonly #known = new Map<string, ScannedContainer>();
  readonly #byProcess = new Map<number, ScannedContainer | undefined>();

  constructor(host: ThisHost) {
    this.#host = host;
  }

  /** Returns undefined for a process that is in no container. */
  of(pid: number): ScannedContainer | undefined {
    if (this.#byProcess.has(pid)) return this.#byProcess.get(pid);
    const found = containerOf(pid);
    const container = found && (this.#known.get(found.path) ?? this.#meet(found, pid));
    this.#byProcess.set(pid, container);
    return container;
  }

  #meet(found: ContainerGroup, pid: number): ScannedContainer {
    const group = this.#host.groupOf(found);
    const members = group ? processesIn(group.path) : [];
    // A group that is found under another path than its own lists other processes, or none. A process
    // that ends leaves its namespaces first and its group next, and may stay as a zombie.
    const isReached = members.includes(pid) || namespaceOfSync(pid, 'mnt') === undefined;
    // The process may end meanwhile: then others of the container say whose it is.
    const isOurs = [pid, ...members.slice(0, 20)].some((each) => this.#host.has(each));
    const container = { ...found, group: isReached ? group : undefined, isOurs };
    this.#known.set(found.path, container);
    for (const member of isReached ? members : []) this.#byProcess.set(member, container);
    return container;
  }
}

/** Returns the processes of a container's group; not those of containers that run inside it. */
function processesIn(path: string): number[] {
  const own = readIfAny(() => readFileSync(join(path, 'cgroup.procs'), 'latin1')) ?? '';
  const entries = readIfAny(() => readdirSync(path, { withFileTypes: true })) ?? [];
  const inner = entries
    .filter((entry) => entry.isDirectory() && containerIn(entry.name) === undefined)
    .flatMap(({ name }) => processesIn(join(path, name)));
  return [...own.split('\n').filter(Boolean).map(Number), ...inner];
}

/** Returns undefined when a group has gone, or is one whose threads are spread over several groups. */
function readIfAny<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENODEV', 'EOPNOTSUPP', 'ENOTDIR')) return undefined;
    throw error;
  }
}
