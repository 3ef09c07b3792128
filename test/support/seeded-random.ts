/** Repeatable random choices: the same seed gives the same choices. */
export interface SeededRandom {
  /** Returns a whole number from 0 up to, but not including, `limit`. */
  below(limit: number): number;
  chance(probability: number): boolean;
  /** Returns one of the choices; throws when there are none. */
  pick<T>(choices: readonly T[]): T;
}

/** The seed is a whole number; only its lowest 32 bits count. */
export function seededRandom(seed: number): SeededRandom {
  let state = seed >>> 0;
  // Mulberry32: short, and random enough for choices.
  const next = () => {
    state = (state + 0x6d_2b_79_f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (limit: number) => Math.floor(next() * limit);
  return {
    below,
    chance: (probability) => next() < probability,
    pick: (choices) => {
      if (choices.length === 0) throw new Error('there is nothing to choose from');
      return choices[below(choices.length)] as (typeof choices)[number];
    },
  };
}
