import type { MountedVolume, ProcessRef, User } from '../ports.ts';
import type { ScannedContainer } from './containers.ts';

/** Gathers the users that a scan finds: each once, with all volumes that any of its tasks uses. */
export class UserList {
  readonly #users = new Map<string, Omit<User, 'volumes'>>();
  readonly #volumes = new Map<string, Set<string>>();
  readonly #shared = new Map<string, Set<string>>();
  /** Volumes that a thread of an engine's process shows: what the process has open there is its. */
  readonly #inThreads = new Map<number, Set<string>>();

  addContainer({ path, id, group }: ScannedContainer, volumes: readonly string[]): void {
    this.#add({ kind: 'container', key: group?.path ?? path, id, group }, volumes);
  }

  /** Undefined: the process has ended meanwhile. */
  addHost(process: ProcessRef | undefined, volumes: readonly string[]): void {
    if (process) this.#add({ kind: 'host', key: keyOf(process), process }, volumes);
  }

  addEngine(process: ProcessRef | undefined, volumes: readonly string[]): void {
    if (!process) return;
    if (process.tid !== undefined) addTo(this.#inThreads, process.pid, volumes);
    this.#add({ kind: 'engine', key: keyOf(process), process }, volumes);
  }

  /** Notes that a container of this PID namespace uses volumes. */
  share(pidNamespace: string, volumes: readonly string[]): void {
    addTo(this.#shared, pidNamespace, volumes);
  }

  sharedIn(pidNamespace: string): readonly string[] {
    return [...(this.#shared.get(pidNamespace) ?? [])];
  }

  /** Returns the users, with their volumes in the order asked for. */
  all(asked: readonly MountedVolume[]): User[] {
    return [...this.#users.values()].flatMap((user) => {
      const used = this.#volumesOf(user);
      const volumes = asked.map(({ volume }) => volume).filter((volume) => used.has(volume));
      return volumes.length === 0 ? [] : [{ ...user, volumes }];
    });
  }

  /** Leaves out for an engine's process what one of its threads does: then only that one is stopped. */
  #volumesOf({ key, kind, process }: Omit<User, 'volumes'>): ReadonlySet<string> {
    const used = this.#volumes.get(key) ?? new Set();
    if (kind !== 'engine' || !process || process.tid !== undefined) return used;
    return used.difference(this.#inThreads.get(process.pid) ?? new Set());
  }

  #add(user: Omit<User, 'volumes'>, volumes: readonly string[]): void {
    if (!this.#users.has(user.key)) this.#users.set(user.key, user);
    addTo(this.#volumes, user.key, volumes);
  }
}

/** Names a process or thread among all of this boot. */
export function keyOf({ pid, tid, started }: ProcessRef): string {
  return tid === undefined ? `${pid} ${started}` : `${pid}/${tid} ${started}`;
}

function addTo<K>(sets: Map<K, Set<string>>, key: K, values: readonly string[]): void {
  const set = sets.get(key) ?? new Set();
  for (const value of values) set.add(value);
  sets.set(key, set);
}
