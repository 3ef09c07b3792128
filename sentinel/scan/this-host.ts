import { readlinkSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { ControlGroup } from '../../lib/linux/control-group.ts';
import type { Mount } from '../../lib/linux/mountinfo.ts';
import { parseMountInfo } from '../../lib/linux/mountinfo.ts';
import {
  ifSeenSync,
  namespaceOfSync,
  processFileSync,
  processStatSync,
} from '../../lib/linux/proc.ts';
import type { ContainerGroup } from './container-group.ts';
import { containerGroupIn, reach } from './container-group.ts';

/**
 * Decides what belongs to this host. A process does if it, or one of its ancestors, runs in one of the
 * host's own mount namespaces: a container's processes descend from the engine's, whatever
 * namespaces they have made since. (Only where tests make several hosts of one machine is there a
 * process of another host.)
 *
 * A managed plugin runs in a container itself: the host's namespaces are then its own and that of
 * the process that started its container, and the control groups are reached through that process.
 *
 * One object serves one scan: it remembers what it has read.
 */
export class ThisHost {
  /** This process's own mount table. */
  readonly mounts: readonly Mount[];
  /** The tables of the host's namespaces: this process's own and, for a managed plugin, the host's. */
  readonly tables: readonly (readonly Mount[])[];
  readonly #namespaces: ReadonlySet<string>;
  readonly #pidNamespaces: ReadonlySet<string>;
  readonly #groupMounts: readonly Mount[];
  readonly #ownContainer: string | undefined;
  readonly #ownProcesses: ReadonlySet<number>;
  readonly #isOurs = new Map<number, boolean>();
  readonly #parents = new Map<number, number>();

  constructor(daemon: number | undefined) {
    this.mounts = mountsSeenBy('self');
    this.#ownContainer = containerOf('self')?.path;
    const starter = this.#ownContainer === undefined ? undefined : starterOfThisContainer();
    this.#namespaces = namesOf('mnt', starter);
    this.#pidNamespaces = namesOf('pid', starter);
    const hosts = starter === undefined ? this.mounts : mountsSeenBy(starter);
    this.tables = starter === undefined ? [this.mounts] : [this.mounts, hosts];
    this.#groupMounts = starter === undefined ? hosts : mountsThrough(starter, hosts);
    this.#ownProcesses = new Set([process.pid, daemon ?? parentOfSameProgram()].filter(isNumber));
  }

  hasMountNamespace(name: string): boolean {
    return this.#namespaces.has(name);
  }

  /** Processes of the host's own PID namespace share it with no container in particular. */
  hasPidNamespace(name: string): boolean {
    return this.#pidNamespaces.has(name);
  }

  get groupMounts(): readonly Mount[] {
    return this.#groupMounts;
  }

  has(pid: number): boolean {
    const known = this.#isOurs.get(pid);
    if (known !== undefined) return known;
    const namespace = namespaceOfSync(pid, 'mnt');
    const parent = this.#parentOf(pid);
    const isOurs =
      (namespace !== undefined && this.#namespaces.has(namespace)) ||
      (parent > 0 && this.has(parent));
    this.#isOurs.set(pid, isOurs);
    return isOurs;
  }

  /**
   * Returns true for a process of berth itself: this one, the daemon, what they have started (`cp`,
   * `mount`), and in a managed plugin whatever runs in its container. The kernel says who started
   * whom and which group a process is in; names and arguments are not read.
   */
  isBerth(pid: number, container: ContainerGroup | undefined): boolean {
    if (this.#ownContainer !== undefined && container?.path === this.#ownContainer) return true;
    return (
      container === undefined && this.#ancestry(pid).some((each) => this.#ownProcesses.has(each))
    );
  }

  /** Returns true if a process is an engine's or was started by one, and is in no container. */
  isEngine(pid: number): boolean {
    return this.#ancestry(pid).some((each) => enginePrograms.test(programOf(each)));
  }

  /** Returns a process and its ancestors, nearest first. */
  #ancestry(pid: number): number[] {
    const all: number[] = [];
    for (let each = pid; each > 0; each = this.#parentOf(each)) all.push(each);
    return all;
  }

  #parentOf(pid: number): number {
    const known = this.#parents.get(pid);
    if (known !== undefined) return known;
    const parent = processStatSync(pid)?.parent ?? 0;
    this.#parents.set(pid, parent);
    return parent;
  }

  /** Returns the container's group, if it can be reached from here. */
  groupOf(container: ContainerGroup): ControlGroup | undefined {
    return reach(container, this.#groupMounts);
  }
}

/** Matches the files of programs; only the host's root decides what runs under these names there. */
const enginePrograms = /^(dockerd|docker-init|containerd|podman|conmon|crio|buildkitd|runc|crun)/;

export function containerOf(pid: number | 'self'): ContainerGroup | undefined {
  const group = containerGroupIn(processFileSync(pid, 'cgroup') ?? '');
  // A process that ends leaves its groups of version 1 before that of version 2, and its namespaces
  // before both: its container would seem to have a group of version 2 to be stopped by.
  if (group?.hierarchy === 2 && namespaceOfSync(pid, 'mnt') === undefined) return undefined;
  return group;
}

/** Returns who started the container that this process runs in, as a managed plugin's does. */
function starterOfThisContainer(): number | undefined {
  const own = namespaceOfSync('self', 'mnt');
  let pid = process.pid;
  while (pid > 0 && namespaceOfSync(pid, 'mnt') === own) pid = processStatSync(pid)?.parent ?? 0;
  return pid > 0 ? pid : undefined;
}

function namesOf(kind: 'mnt' | 'pid', starter: number | undefined): Set<string> {
  const of = [namespaceOfSync('self', kind)];
  if (starter !== undefined) of.push(namespaceOfSync(starter, kind));
  return new Set(of.filter((name) => name !== undefined));
}

function mountsSeenBy(pid: number | 'self'): Mount[] {
  return parseMountInfo(processFileSync(pid, 'mountinfo') ?? '');
}

/** Returns the host's mounts, with paths that lead there from inside. Needs CAP_SYS_PTRACE. */
function mountsThrough(starter: number, mounts: readonly Mount[]): Mount[] {
  const root = `/proc/${starter}/root`;
  return mounts.map((mount) => ({ ...mount, mountpoint: join(root, mount.mountpoint) }));
}

/**
 * The daemon starts the sentinel, and runs the same program. Returns undefined for another parent,
 * such as systemd.
 */
function parentOfSameProgram(): number | undefined {
  const [own, parents] = [linkOf('self'), linkOf(process.ppid)];
  return own !== undefined && own === parents ? process.ppid : undefined;
}

function programOf(pid: number): string {
  return basename(linkOf(pid) ?? '');
}

function linkOf(pid: number | 'self'): string | undefined {
  return ifSeenSync(() => readlinkSync(`/proc/${pid}/exe`));
}

function isNumber(value: number | undefined): value is number {
  return value !== undefined;
}
