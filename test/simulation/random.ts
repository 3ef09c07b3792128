/** A source of numbers from 0 up to 1. */
export type Random = () => number;

/**
 * A stream of numbers that depends only on its seed and name. Each part of a simulation has one of
 * its own, so that leaving out one command changes as little as possible for the others.
 */
export function randomStream(seed: number, name: string): Random {
  let state = seed | 0;
  for (const letter of name) state = Math.imul(state ^ letter.charCodeAt(0), 0x01000193);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

export function between(random: Random, least: number, most: number): number {
  return least + random() * (most - least);
}

/** Returns numbers mostly near `least`; long ones are rare. */
export function longTailed(random: Random, least: number, most: number): number {
  return least * (most / least) ** (random() ** 3);
}
