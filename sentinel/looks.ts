import createDebug from 'debug';
import type { MachineClock, MountedVolume, User, UserScan } from './ports.ts';

const log = createDebug('berth:sentinel');

/** The result of one complete look for users. */
export interface Look {
  /** The time by the boot clock when it began: it has seen whoever was there then. */
  readonly beganAtMs: number;
  readonly tookMs: number;
  /** The names of the volumes whose users it looked for. */
  readonly volumes: ReadonlySet<string>;
  readonly users: readonly User[];
}

const keptDurations = 5;
/** A failed look is repeated after this time. */
const failurePauseMs = 100;
/**
 * While a look is in progress that takes longer than this, plain users are looked for beside it: beside many
 * processes it may take seconds, and does not see whoever was started since it began.
 */
const plainPauseMs = 500;

/** Looks for the users of volumes in the background, one look at a time, and keeps the last result. */
export class Looks {
  readonly #scan: UserScan;
  readonly #clock: MachineClock;
  #last: Look | undefined;
  /** The durations of the last looks, newest first. */
  #durations: readonly number[] = [];
  #isLooking = false;
  /** Users that the look in progress has found. */
  #found: readonly User[] = [];
  /** Users that were found beside a look, until one has ended that began later. */
  #plain: readonly User[] = [];
  #plainBeganAtMs = Number.NEGATIVE_INFINITY;
  #isLookingForPlain = false;
  #failure: { readonly atMs: number; readonly error: unknown } | undefined;

  constructor(scan: UserScan, clock: MachineClock) {
    this.#scan = scan;
    this.#clock = clock;
  }

  get last(): Look | undefined {
    return this.#last;
  }

  /** The users that the last look has found, and those that the one in progress has found so far. */
  get users(): readonly User[] {
    return [...(this.#last?.users ?? []), ...this.#found, ...this.#plain];
  }

  /** How long the last look took. */
  get lastMs(): number {
    return this.#durations[0] ?? 0;
  }

  /** How long a look takes by itself: the shortest of the last, because a busy machine delays some. */
  get usualMs(): number {
    return this.#durations.length === 0 ? 0 : Math.min(...this.#durations);
  }

  /** The failure of the last look; undefined if it succeeded. */
  get failure(): unknown {
    return this.#failure?.error;
  }

  /**
   * Begins a look unless one is in progress or the last is fresh enough. Calls `changed` at its end, and
   * when it has found users before. If one is in progress for long, looks for plain users beside it, unless
   * this look only `measures`.
   * A look that does not cover all these volumes counts as fresh only with `measures`.
   */
  begin(
    volumes: readonly MountedVolume[],
    { pauseMs, measures }: { readonly pauseMs: number; readonly measures: boolean },
    changed: () => void,
  ): void {
    const beganAtMs = this.#clock.now();
    if (this.#isLooking && !measures) this.#beginPlain(volumes, beganAtMs, changed);
    const names = new Set(volumes.map(({ volume }) => volume));
    const last = this.#last;
    const covers = last !== undefined && (measures || names.isSubsetOf(last.volumes));
    const isFresh = covers && beganAtMs - last.beganAtMs < pauseMs;
    const failedAtMs = this.#failure?.atMs ?? Number.NEGATIVE_INFINITY;
    const hasFailed = beganAtMs - failedAtMs < Math.max(pauseMs, failurePauseMs);
    if (this.#isLooking || isFresh || hasFailed) return;
    this.#isLooking = true;
    this.#plainBeganAtMs = beganAtMs; // It begins with the plain users.
    this.#scan
      .users(volumes, (users) => {
        this.#found = users;
        changed();
      })
      .then(
        (users) => {
          const tookMs = this.#clock.now() - beganAtMs;
          this.#durations = [tookMs, ...this.#durations].slice(0, keptDurations);
          this.#last = { beganAtMs, tookMs, volumes: names, users };
          if (beganAtMs >= this.#plainBeganAtMs) this.#plain = [];
          this.#failure = undefined;
        },
        (error) => {
          this.#failure = { atMs: beganAtMs, error };
        },
      )
      .finally(() => {
        this.#isLooking = false;
        this.#found = [];
        changed();
      });
  }

  #beginPlain(volumes: readonly MountedVolume[], now: number, changed: () => void): void {
    if (this.#isLookingForPlain || now - this.#plainBeganAtMs < plainPauseMs) return;
    this.#isLookingForPlain = true;
    this.#plainBeganAtMs = now;
    this.#scan
      .plainUsers(volumes)
      .then(
        (users) => {
          this.#plain = users;
        },
        // The look in progress fails as well, or finds them.
        (error) => log('the containers could not be looked for: %s', error),
      )
      .finally(() => {
        this.#isLookingForPlain = false;
        changed();
      });
  }
}
