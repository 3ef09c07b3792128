import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import createDebug from 'debug';
import { z } from 'zod';
import { hasCode } from '../lib/linux/error-code.ts';
import type { Container } from './container-scan.ts';
import type { Happening, Watch, WatchedVolume } from './watch.ts';
import { reportSchema, watchSchema } from './watch.ts';

const log = createDebug('berth:sentinel');

const identitySchema = z.object({ device: z.string(), root: z.string() });

const guardSchema = z.object({
  /** What is mounted there. */
  identity: identitySchema.optional(),
  state: z.enum(['running', 'fenced', 'ended']),
  /** Its file system is still. */
  isStill: z.boolean(),
  isCutOff: z.boolean(),
  /** Its containers were asked to stop. */
  isAsked: z.boolean(),
  isFlushed: z.boolean(),
  /** Containers that were killed for it. */
  killed: z.array(z.string()),
  /** What was last said to have failed. */
  complaint: z.string(),
});

/** What has been done about one volume. `busy`: something is being done to its file system. */
export type Guard = z.infer<typeof guardSchema> & { busy?: Promise<void> | undefined };

const pausedSchema = z.object({
  id: z.string(),
  volumes: z.array(z.string()),
  group: z.object({ path: z.string(), version: z.literal([1, 2]) }).optional(),
  /** Its user had paused it before. */
  isUsers: z.boolean(),
  /** Its engine did not say that it has paused it, so it may yet do so, at any time. */
  isUncertain: z.boolean(),
  /** By the boot clock; present when it has been resumed, and only has to stay so. */
  resumedAtMs: z.number().optional(),
});

export type PausedContainer = Container & Omit<z.infer<typeof pausedSchema>, keyof Container>;

const stateSchema = z.object({
  watch: watchSchema,
  guards: z.record(z.string(), guardSchema),
  paused: z.array(pausedSchema),
  happenings: reportSchema.shape.happenings,
  nextNumber: z.number(),
});

const untouched: Guard = {
  state: 'running',
  isStill: false,
  isCutOff: false,
  isAsked: false,
  isFlushed: false,
  killed: [],
  complaint: '',
};

/**
 * What the sentinel knows and has done, in a file of this boot that is replaced before each act:
 * a successor goes on where it was killed. Not flushed, because it means nothing after a power cut.
 */
export class SentinelState {
  readonly #path: string;
  #watch: Watch;
  #guards: Map<string, Guard>;
  #paused: Map<string, PausedContainer>;
  #happenings: Happening[];
  #nextNumber: number;

  /** Reads what a predecessor has left in this boot. */
  constructor(path: string, bootId: string) {
    this.#path = path;
    const kept = read(path);
    const mine = kept?.watch.bootId === bootId ? kept : undefined;
    this.#watch = mine?.watch ?? { bootId, leadMs: 0, graceMs: 0, volumes: [], noted: 0 };
    this.#guards = new Map(Object.entries(mine?.guards ?? {}));
    this.#paused = new Map(mine?.paused.map((each) => [each.id, each]));
    this.#happenings = mine?.happenings ?? [];
    // Above all numbers of a predecessor whose state is lost.
    this.#nextNumber = mine?.nextNumber ?? Date.now();
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

  guard(volume: string): Guard {
    return this.#guards.get(volume) ?? untouched;
  }

  /** A volume of which there is no news keeps its deadline; a new mount of it starts anew. */
  update(watch: Watch): void {
    const before = new Map(this.volumes.map((volume) => [volume.volume, volume]));
    const volumes = watch.volumes.map((volume) => {
      const known = before.get(volume.volume);
      if (known?.tenure !== volume.tenure) this.#guards.delete(volume.volume);
      const isNews = volume.state !== 'unproven' || known?.tenure !== volume.tenure;
      return isNews ? volume : { ...volume, deadlineMs: known.deadlineMs };
    });
    const names = new Set(volumes.map(({ volume }) => volume));
    for (const volume of this.#guards.keys()) if (!names.has(volume)) this.#guards.delete(volume);
    this.#happenings = this.#happenings.filter(({ number }) => number > watch.noted);
    this.#watch = { ...watch, volumes };
    this.#write();
  }

  setGuard(volume: string, guard: Guard): void {
    if (!this.volumes.some((watched) => watched.volume === volume)) return;
    this.#guards.set(volume, guard);
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
    const at = new Date().toISOString();
    this.#happenings.push({ number: this.#nextNumber, at, kind, volume, message });
    this.#nextNumber += 1;
    this.#write();
  }

  #write(): void {
    const guards = [...this.#guards].map(([volume, { busy: _, ...guard }]) => [volume, guard]);
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
      // Acting counts more than remembering.
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
    log('WARNING %s is of another release and not used: %s', path, error);
    return undefined;
  }
}
