import type { Clock } from '../../running/clock.ts';

/** Shows to an operation what those before it have promised. */
export interface EarlierPromises {
  /** Counts the bytes that earlier operations have promised and not recorded yet. */
  readonly earlierBytes: () => number;
  /** Waits until they are fewer than `bytes`. False: they are not, and the time to wait for them has passed. */
  untilFewer(bytes: number): Promise<boolean>;
}

/** The longest that an operation waits for earlier ones before it is refused: a copy may take hours. */
const limitMs = 5_000;

/** Returns how long an operation may still wait for all that is earlier; the time begins with the first call. */
export function waitLimit(clock: Clock): { leftMs(): number } {
  let endsAt: number | undefined;
  return {
    leftMs: () => {
      endsAt ??= clock.now() + limitMs;
      return Math.max(0, endsAt - clock.now());
    },
  };
}

/** Resolves as `happening` does, or with false when the time has passed before. */
export async function beforeLimit(
  happening: Promise<true>,
  clock: Clock,
  withinMs: number,
): Promise<boolean> {
  if (withinMs === 0) return false;
  const limit = new AbortController();
  const late = clock.sleep(withinMs, limit.signal).then(() => false);
  try {
    return await Promise.race([happening, late]);
  } finally {
    limit.abort();
  }
}

interface Pending {
  readonly bytes: number;
  readonly ended: Promise<true>;
}

/** The promises of operations under way on this host, for pools that no other host uses. */
export class HostPromises {
  readonly #clock: Clock;
  /** Keeps the promises of each driver in their order. */
  readonly #pending = new Map<string, Set<Pending>>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Promises space until it is disposed of, after the operation's record was written or its work has failed. */
  begin(driver: string, bytes: number): EarlierPromises & Disposable {
    const all = this.#pending.get(driver) ?? new Set();
    this.#pending.set(driver, all);
    const ended = Promise.withResolvers<true>();
    const own: Pending = { bytes, ended: ended.promise };
    const before = [...all];
    all.add(own);
    const earlier = () => before.filter((each) => all.has(each));
    const earlierBytes = () => earlier().reduce((sum, each) => sum + each.bytes, 0);
    const limit = waitLimit(this.#clock);
    return {
      earlierBytes,
      untilFewer: async (than) => {
        while (earlierBytes() >= than) {
          const anyEnded = Promise.race(earlier().map((each) => each.ended));
          if (!(await beforeLimit(anyEnded, this.#clock, limit.leftMs()))) return false;
        }
        return true;
      },
      [Symbol.dispose]: () => {
        all.delete(own);
        ended.resolve(true);
      },
    };
  }
}
