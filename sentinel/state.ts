import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import createDebug from 'debug';
import { z } from 'zod';
import { hasCode } from '../lib/linux/error-code.ts';
import type { Clock } from '../lib/running/clock.ts';
import type { Container } from './container-scan.ts';
import type { VolumeFence } from './volume-fence.ts';
import { openFence, volumeFenceSchema } from './volume-fence.ts';
import type { Happening, Watch, WatchedVolume } from './watch.ts';
import { reportSchema, watchSchema } from './watch.ts';

const log = createDebug('berth:sentinel');

const pausedSchema = z.object({
  id: z.string(),
  volumes: z.array(z.string()),
  group: z.object({ path: z.string(), version: z.literal([1, 2]) }).optional(),
  /** True when its user had paused it: the sentinel leaves it paused afterwards. */
  isUsers: z.boolean(),
  /** True until the engine confirms the pause: a late engine may still carry it out. */
  isUncertain: z.boolean(),
  /** The time of the resume, by the boot clock. Kept for a while in case a late pause follows. */
  resumedAtMs: z.number().optional(),
});

/** A container that the sentinel has paused, or was about to pause when it was killed. */
export type PausedContainer = Container & Omit<z.infer<typeof pausedSchema>, keyof Container>;

const stateSchema = z.object({
  watch: watchSchema,
  /** The fences by volume; the file's name for them is older than the word. */
  guards: z.record(z.string(), volumeFenceSchema),
  paused: z.array(pausedSchema),
  happenings: reportSchema.shape.happenings,
  nextNumber: z.number(),
});

/**
 * Keeps what the sentinel knows and has done, in a file that is replaced before each action: a
 * successor continues where the sentinel was killed. The file is not synced to disk, and belongs to one boot:
 * after a power cut it means nothing.
 */
export class SentinelState {
  readonly #path: string;
  readonly #clock: Pick<Clock, 'date'>;
  #watch: Watch;
  #fences: Map<string, VolumeFence>;
  #paused: Map<string, PausedContainer>;
  #happenings: Happening[];
  #nextNumber: number;

  /** Reads what a predecessor has left in this boot. */
  constructor(path: string, bootId: string, clock: Pick<Clock, 'date'>) {
    this.#path = path;
    this.#clock = clock;
    const kept = read(path);
    const mine = kept?.watch.bootId === bootId ? kept : undefined;
    const none = { bootId, leadMs: 0, graceMs: 0, volumes: [], noted: 0 };
    this.#watch = mine?.watch ?? watchSchema.parse(none);
    this.#fences = new Map(Object.entries(mine?.guards ?? {}));
    this.#paused = new Map(mine?.paused.map((each) => [each.id, each]));
    this.#happenings = mine?.happenings ?? [];
    // Larger than the numbers of a predecessor whose state is lost.
    this.#nextNumber = mine?.nextNumber ?? clock.date().getTime();
  }

  get bootId(): string {
    return this.#watch.bootId;
  }

  get leadMs(): number {
    return this.#watch.leadMs;
  }

  get graceMs(): number {
    return this.#watch.graceMs;
  }

  get volumes(): readonly WatchedVolume[] {
    return this.#watch.volumes;
  }

  /** The containers that the sentinel has paused. */
  get paused(): readonly PausedContainer[] {
    return [...this.#paused.values()];
  }

  get happenings(): readonly Happening[] {
    return this.#happenings;
  }

  fence(volume: string): VolumeFence {
    return this.#fences.get(volume) ?? openFence;
  }

  /** Replaces the watch. A volume whose lock is unproven keeps its last deadline. */
  update(watch: Watch): void {
    const before = new Map(this.volumes.map((volume) => [volume.volume, volume]));
    const volumes = watch.volumes.map((volume) => {
      const known = before.get(volume.volume);
      const isSameMount = known?.tenure === volume.tenure; // tidy-ok: protocol name
      if (!isSameMount) this.#fences.delete(volume.volume);
      const isNews = volume.state !== 'unproven' || !isSameMount;
      return isNews ? volume : { ...volume, deadlineMs: known.deadlineMs };
    });
    const names = new Set(volumes.map(({ volume }) => volume));
    for (const volume of this.#fences.keys()) if (!names.has(volume)) this.#fences.delete(volume);
    this.#happenings = this.#happenings.filter(({ number }) => number > watch.noted);
    this.#watch = { ...watch, volumes };
    this.#write();
  }

  /** Ignores a volume that is not watched any more. */
  setFence(volume: string, fence: VolumeFence): void {
    if (!this.volumes.some((watched) => watched.volume === volume)) return;
    this.#fences.set(volume, fence);
    this.#write();
  }

  setPaused(container: PausedContainer): void {
    this.#paused.set(container.id, container);
    this.#write();
  }

  removePaused(id: string): void {
    if (this.#paused.delete(id)) this.#write();
  }

  note(kind: Happening['kind'], volume: string, message: string): void {
    log('%s volume=%s: %s', kind, volume, message);
    const at = this.#clock.date().toISOString();
    this.#happenings.push({ number: this.#nextNumber, at, kind, volume, message });
    this.#nextNumber += 1;
    this.#write();
  }

  #write(): void {
    const guards = [...this.#fences].map(([volume, { busy: _, ...fence }]) => [volume, fence]);
    const state: z.infer<typeof stateSchema> = {
      watch: this.#watch,
      guards: Object.fromEntries(guards),
      paused: this.paused.map(({ volumes, group, ...rest }) => ({
        ...rest,
        volumes: [...volumes],
        ...(group && { group }),
      })),
      happenings: this.#happenings,
      nextNumber: this.#nextNumber,
    };
    try {
      writeFileSync(`${this.#path}.new`, JSON.stringify(state), { mode: 0o600 });
      renameSync(`${this.#path}.new`, this.#path);
    } catch (error) {
      // Fencing matters more than a successor's knowledge.
      log('ERROR the state can not be written to %s: %s', this.#path, error);
    }
  }
}

function read(path: string): z.infer<typeof stateSchema> | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw error;
  }
  try {
    return stateSchema.parse(JSON.parse(text));
  } catch (error) {
    log('WARNING ignoring %s, which another release has written: %s', path, error);
    return undefined;
  }
}
