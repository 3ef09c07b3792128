import createDebug from 'debug';
import type { ClockNews } from './clock-jump.ts';
import { Happenings } from './happenings.ts';
import { mergeChange, mergeWatch, newDeadline, withDeadline } from './merge-watch.ts';
import type { MachineClock, StateFile } from './ports.ts';
import type { StateParts } from './state-format.ts';
import { readStateLines, stateLine } from './state-format.ts';
import type { StoppedUser } from './stopped-user.ts';
import type { VolumeFence } from './volume-fence.ts';
import { openFence } from './volume-fence.ts';
import type { Happening, Watch, WatchChange, WatchedVolume } from './watch.ts';
import { watchSchema } from './watch.ts';

const log = createDebug('berth:sentinel');

/** The file is written from the start again when it has grown by this many characters. */
const longestGrowth = 1_000_000;

type Changed =
  | 'watch'
  | 'deadline'
  | 'change'
  | 'happenings'
  | `fence ${string}`
  | `stopped ${string}`;

/**
 * Keeps what the sentinel knows and has done, for itself and, in the state file, for a successor.
 * Changes are kept in memory until `commit`, which writes them in one line: call it before acting on
 * them, so that the sentinel may be killed at any line.
 */
export class SentinelState {
  readonly bootId: string;
  readonly #file: StateFile;
  readonly #clock: Pick<MachineClock, 'date'>;
  #watch: Watch;
  readonly #fences = new Map<string, VolumeFence>();
  /** The volumes whose file systems a predecessor may have frozen. */
  readonly #inherited = new Set<string>();
  readonly #stopped = new Map<string, StoppedUser>();
  #clockNews: ClockNews | undefined;
  readonly #happenings: Happenings;
  /** The change of the watch that is not written yet. */
  #change: StateParts['change'];
  /** The deadline of all proved locks, if it is all that is new in the watch. */
  #deadlineMs: number | undefined;
  /** The number of the last happening in the file. */
  #writtenNumber = Number.NEGATIVE_INFINITY;
  readonly #changed = new Set<Changed>();
  /** False until the first watch of a process that found no state of a predecessor. */
  #isInformed: boolean;
  /** True if a line could not be written: later lines say only what has changed since. */
  #isIncomplete = false;
  #grownBy = 0;
  #startLength = 0;

  /** Reads what a predecessor has left in this boot. */
  constructor(file: StateFile, bootId: string, clock: Pick<MachineClock, 'date'>) {
    this.bootId = bootId;
    this.#file = file;
    this.#clock = clock;
    // No boot: a successor of a process that nobody has told anything is not informed either.
    this.#watch = watchSchema.parse({ bootId: '', leadMs: 0, graceMs: 0, volumes: [], noted: 0 });
    // Larger than the numbers of a predecessor whose state is lost.
    this.#happenings = new Happenings(clock.date().getTime());
    const parts = readStateLines(file.read());
    this.#isInformed = parts.some(({ watch }) => watch?.bootId === bootId);
    if (this.#isInformed) for (const each of parts) this.#take(each);
    this.#continueFreezes();
    this.#rewrite();
  }

  get watch(): Watch {
    return this.#watch;
  }

  get volumes(): readonly WatchedVolume[] {
    return this.#watch.volumes;
  }

  get stopped(): ReadonlyMap<string, StoppedUser> {
    return this.#stopped;
  }

  /** The knowledge of the clock's jumps at the last watch. */
  get clockNews(): ClockNews | undefined {
    return this.#clockNews;
  }

  /** Returns what the daemon has not recorded. */
  get happenings(): readonly Happening[] {
    return this.#happenings.all;
  }

  /** Returns the part of it that one report has. */
  get reported(): readonly Happening[] {
    return this.#happenings.reported;
  }

  fence(volume: string): VolumeFence {
    return this.#fences.get(volume) ?? openFence;
  }

  /** Takes the daemon's list of mounts, and writes it. */
  update(watch: Watch, clockNews?: ClockNews): void {
    this.#clockNews = clockNews;
    const isStopped = (volume: string) =>
      [...this.#stopped.values()].some(({ user }) => user.volumes.includes(volume));
    const { volumes, ended } = mergeWatch(this.volumes, watch, isStopped);
    const isNew = this.#isNew();
    this.#noticeChanges(volumes, ended);
    this.#happenings.forget(watch.noted);
    this.#setWatch({ ...watch, volumes: [...volumes] });
    this.#suspectFreezes(volumes.filter(isNew));
    this.#isInformed = true;
    this.commit();
  }

  /** Takes what has changed since the last list, and writes only that. */
  change({ volumes: given, released }: Pick<WatchChange, 'volumes' | 'released'>): void {
    const { volumes, ended } = mergeChange(this.volumes, { volumes: given, released });
    const isNew = this.#isNew();
    this.#noticeChanges(given, ended);
    this.#watch = { ...this.#watch, volumes: [...volumes] };
    this.#suspectFreezes(given.filter(isNew));
    this.#change = { volumes: given, released };
    this.#changed.add('change');
    this.commit();
  }

  #setWatch(watch: Watch): void {
    this.#deadlineMs = newDeadline(this.#watch, watch);
    this.#watch = watch;
    this.#changed.add(this.#deadlineMs === undefined ? 'watch' : 'deadline');
  }

  #noticeChanges(volumes: readonly WatchedVolume[], ended: readonly string[]): void {
    const names = new Set(volumes.map(({ volume }) => volume));
    const known = this.volumes.filter(({ volume }) => names.has(volume));
    const former = new Map(known.map(({ volume, state }) => [volume, state]));
    for (const volume of ended) this.#forget(volume);
    for (const { volume, state } of volumes) {
      // What was seen before the loss does not prove that nobody is left.
      const isNews = state !== former.get(volume) && (state === 'lost' || state === 'evicted');
      if (isNews) this.changeFence(volume, { stopSinceMs: undefined });
    }
  }

  /** Ignores a volume that is not watched any more. */
  changeFence(volume: string, change: Partial<VolumeFence>): void {
    if (!this.volumes.some((watched) => watched.volume === volume)) return;
    this.#fences.set(volume, { ...this.fence(volume), ...change });
    this.#changed.add(`fence ${volume}`);
  }

  /** Returns true if a predecessor may have frozen the volume's file system, and nothing has thawed it since. */
  mayHaveFrozen(volume: string): boolean {
    return this.#inherited.has(volume);
  }

  /** Takes note that the volume's file system is not frozen by a sentinel. */
  thawed(volume: string): void {
    this.#inherited.delete(volume);
  }

  setStopped(stopped: StoppedUser): void {
    this.#stopped.set(stopped.user.key, stopped);
    this.#changed.add(`stopped ${stopped.user.key}`);
  }

  removeStopped(key: string): void {
    if (this.#stopped.delete(key)) this.#changed.add(`stopped ${key}`);
  }

  note(kind: Happening['kind'], volume: string, message: string, container?: string): void {
    log('%s volume=%s: %s', kind, volume, message);
    const at = this.#clock.date().toISOString();
    const happening = { at, kind, volume, message };
    this.#happenings.add({ ...happening, ...(container !== undefined && { container }) });
    this.#changed.add('happenings');
  }

  /** Reports a failure once, until another one follows. */
  complain(volume: string, message: string): void {
    if (this.fence(volume).complaint === message) return;
    this.changeFence(volume, { complaint: message });
    this.note('failed', volume, message);
  }

  /** Writes what has changed since the last call, in one line. */
  commit(): void {
    if (this.#changed.size === 0) return;
    if (this.#isIncomplete || this.#grownBy > Math.max(longestGrowth, 3 * this.#startLength)) {
      this.#rewrite();
      return;
    }
    const names = (kind: string) =>
      [...this.#changed]
        .filter((each) => each.startsWith(`${kind} `))
        .map((each) => each.slice(kind.length + 1));
    const fences = names('fence').map((name) => [name, this.#fences.get(name) ?? null]);
    const stopped = names('stopped').map((key) => [key, this.#stopped.get(key) ?? null]);
    const line = stateLine({
      ...(this.#changed.has('watch') && { watch: this.#watch }),
      ...(this.#changed.has('deadline') && { deadlineMs: this.#deadlineMs }),
      ...((this.#changed.has('watch') || this.#changed.has('deadline')) && {
        clock: this.#clockNews,
      }),
      ...(this.#changed.has('change') && { change: this.#change }),
      ...(fences.length > 0 && { fences: Object.fromEntries(fences) }),
      ...(stopped.length > 0 && { stopped: Object.fromEntries(stopped) }),
      ...(this.#changed.has('happenings') && {
        happenings: this.#happenings.after(this.#writtenNumber),
        nextNumber: this.#happenings.nextNumber,
      }),
    });
    this.#written(this.#file.append(line));
    this.#grownBy += line.length;
  }

  /** A freeze that a predecessor has begun gets its time again, before a shutdown loses data. */
  #continueFreezes(): void {
    for (const [volume, fence] of this.#fences) {
      if (fence.fs !== 'freezing') continue;
      this.#fences.set(volume, { ...fence, stopSinceMs: undefined });
      this.#inherited.add(volume);
    }
  }

  /** Returns the test for volumes that are not watched yet. */
  #isNew(): (volume: WatchedVolume) => boolean {
    const known = new Set(this.volumes.map(({ volume }) => volume));
    return ({ volume }) => !known.has(volume);
  }

  /**
   * A predecessor whose state is lost may have frozen any file system that was mounted then: those
   * in the first watch, and those that their daemon has found later.
   */
  #suspectFreezes(added: readonly WatchedVolume[]): void {
    for (const { volume, ownsFileSystem, isAdopted } of added) {
      const isSuspect = isAdopted || !this.#isInformed;
      if (!ownsFileSystem || !isSuspect) continue;
      this.changeFence(volume, { fs: 'freezing' });
      this.#inherited.add(volume);
    }
  }

  #forget(volume: string): void {
    this.#fences.delete(volume);
    this.#inherited.delete(volume);
    this.#changed.add(`fence ${volume}`);
    for (const { user, ...rest } of this.#stopped.values()) {
      if (!user.volumes.includes(volume)) continue;
      const volumes = user.volumes.filter((each) => each !== volume);
      this.setStopped({ ...rest, user: { ...user, volumes } });
    }
  }

  #rewrite(): void {
    const line = stateLine({
      watch: this.#watch,
      clock: this.#clockNews,
      fences: Object.fromEntries(this.#fences),
      stopped: Object.fromEntries(this.#stopped),
      happenings: [...this.#happenings.all],
      nextNumber: this.#happenings.nextNumber,
    });
    this.#written(this.#file.replace(line));
    this.#startLength = line.length;
    this.#grownBy = 0;
  }

  #written(isWritten: boolean): void {
    this.#isIncomplete = !isWritten;
    this.#changed.clear();
    this.#writtenNumber = this.#happenings.nextNumber - 1;
  }

  #take({
    watch,
    change,
    deadlineMs,
    clock,
    fences = {},
    stopped = {},
    happenings,
    nextNumber,
  }: StateParts): void {
    if (clock) this.#clockNews = clock;
    if (watch) this.#watch = watch;
    if (deadlineMs !== undefined) {
      this.#watch = { ...this.#watch, volumes: withDeadline(this.volumes, deadlineMs) };
    }
    if (change) {
      const { volumes } = mergeChange(this.volumes, change);
      this.#watch = { ...this.#watch, volumes: [...volumes] };
    }
    for (const [volume, fence] of Object.entries(fences)) {
      if (fence) this.#fences.set(volume, fence);
      else this.#fences.delete(volume);
    }
    for (const [key, each] of Object.entries(stopped)) {
      if (each) this.#stopped.set(key, each);
      else this.#stopped.delete(key);
    }
    this.#happenings.take(happenings ?? [], nextNumber);
    this.#happenings.forget(this.#watch.noted);
  }
}
