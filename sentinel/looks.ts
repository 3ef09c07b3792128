import type { MachineClock, MountedVolume, User, UserScan } from './ports.ts';

/** The result of one complete look for users. */
export interface Look {
  /** The time by the boot clock when it began: it has seen whoever was there then. */
  readonly beganAtMs: number;
  readonly tookMs: number;
  /** The names of the volumes whose users it looked for. */
  readonly volumes: ReadonlySet<string>;
  readonly users: readonly User[];
}

/** Looks for the users of volumes in the background, one look at a time, and keeps the last result. */
export class Looks {
  readonly #scan: UserScan;
  readonly #clock: MachineClock;
  #last: Look | undefined;
  #isLooking = false;
  #failure: { readonly atMs: number; readonly error: unknown } | undefined;

  constructor(scan: UserScan, clock: MachineClock) {
    this.#scan = scan;
    this.#clock = clock;
  }

  get last(): Look | undefined {
    return this.#last;
  }

  /** The failure of the last look; undefined if it succeeded. */
  get failure(): unknown {
    return this.#failure?.error;
  }

  /**
   * Begins a look unless one is in progress, or the last began less than `pauseMs` ago. Calls `done`
   * at its end.
   */
  begin(volumes: readonly MountedVolume[], pauseMs: number, done: () => void): void {
    const beganAtMs = this.#clock.now();
    const lastAtMs = Math.max(
      this.#last?.beganAtMs ?? Number.NEGATIVE_INFINITY,
      this.#failure?.atMs ?? Number.NEGATIVE_INFINITY,
    );
    const names = new Set(volumes.map(({ volume }) => volume));
    const covers = this.#last !== undefined && names.isSubsetOf(this.#last.volumes);
    if (this.#isLooking || (covers && beganAtMs - lastAtMs < pauseMs)) return;
    this.#isLooking = true;
    this.#scan
      .users(volumes)
      .then(
        (users) => {
          const tookMs = this.#clock.now() - beganAtMs;
          this.#last = { beganAtMs, tookMs, volumes: names, users };
          this.#failure = undefined;
        },
        (error) => {
          this.#failure = { atMs: beganAtMs, error };
        },
      )
      .finally(() => {
        this.#isLooking = false;
        done();
      });
  }
}
