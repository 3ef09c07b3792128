import type { Watch, WatchedVolume } from '../../../sentinel/watch.ts';
import type { Record } from './history.ts';
import type { KernelUser } from './kernel-user.ts';
import type { Machine } from './machine.ts';

/** Keeps the daemon's last word about each mount, to whichever sentinel it was said. */
export class ToldMounts {
  /** The volumes that the sentinel, by its state file, has to watch. */
  readonly toWatch = new Set<string>();
  readonly #machine: Machine;
  readonly #record: Record;
  readonly #told = new Map<string, WatchedVolume>();

  constructor(machine: Machine, record: Record) {
    this.#machine = machine;
    this.#record = record;
  }

  note({ released, volumes }: Pick<Watch, 'released' | 'volumes'>): void {
    // tidy-ok: protocol name
    for (const { volume, tenure } of released) {
      // tidy-ok: protocol name
      if (this.#told.get(volume)?.tenure === tenure) this.#told.delete(volume);
      this.toWatch.delete(volume);
    }
    for (const each of volumes) {
      const { volume, state, tenure } = each; // tidy-ok: protocol name
      const before = this.#told.get(volume);
      const isSame = before?.tenure === tenure; // tidy-ok: protocol name
      const deadlineMs = state === 'unproven' && isSame ? before.deadlineMs : each.deadlineMs;
      this.#told.set(volume, { ...each, deadlineMs });
      if (before?.state === state && isSame) continue;
      const leftMs = Math.round((deadlineMs ?? 0) - this.#machine.bootMs());
      this.#record({ kind: 'told', host: this.#machine.name, volume, state, leftMs });
    }
  }

  /** A sentinel has answered: one that dies before may have written nothing of a watch. */
  noteAnswer({ volumes }: Pick<Watch, 'volumes'>): void {
    for (const { volume } of volumes) this.toWatch.add(volume);
  }

  /** Returns those of a user's volumes for which it should stand still or end. */
  against(user: KernelUser): string[] {
    const now = this.#machine.bootMs();
    return [...user.mounts].flatMap(({ volume }) => {
      const told = this.#told.get(volume);
      if (!told) return [];
      const isLost = told.state === 'lost' || told.state === 'evicted';
      return isLost || (told.deadlineMs ?? 0) <= now ? [volume] : [];
    });
  }
}
