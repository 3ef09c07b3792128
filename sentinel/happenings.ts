import type { Happening } from './watch.ts';

/** The number that is kept for a daemon that does not come: some MB. */
const mostKept = 5_000;
/** The number in one report: a daemon that was away gets the others in the next ones. */
const mostReported = 200;

/**
 * Keeps what the sentinel did until a daemon has recorded it, in order. The numbers have no gap, also from
 * one sentinel to its successor.
 */
export class Happenings {
  #all: Happening[] = [];
  #nextNumber: number;
  /** The number of those that stand for no event any more, because there were too many. */
  #dropped = 0;

  constructor(firstNumber: number) {
    this.#nextNumber = firstNumber;
  }

  get all(): readonly Happening[] {
    return this.#all;
  }

  /** Returns what the daemon gets next: the oldest ones, because what it notes covers all before. */
  get reported(): readonly Happening[] {
    return this.#all.slice(0, mostReported);
  }

  get nextNumber(): number {
    return this.#nextNumber;
  }

  after(number: number): Happening[] {
    return this.#all.filter((each) => each.number > number);
  }

  add(happening: Omit<Happening, 'number'>): void {
    this.#all.push({ number: this.#nextNumber, ...happening });
    this.#nextNumber += 1;
    this.#dropOldest();
  }

  /** Forgets what the daemon has recorded. */
  forget(noted: number): void {
    this.#all = this.after(noted);
    if (this.#all[0]?.volume !== '') this.#dropped = 0;
  }

  /** Takes what a predecessor has left; a release before wrote all of them into each line. */
  take(happenings: readonly Happening[], nextNumber: number | undefined): void {
    const last = this.#all.at(-1)?.number ?? Number.NEGATIVE_INFINITY;
    this.#all.push(...happenings.filter(({ number }) => number > last));
    if (nextNumber !== undefined) this.#nextNumber = nextNumber;
    this.#dropOldest();
  }

  /** Puts one sentence in the place of the oldest ones, which tells how many there were. */
  #dropOldest(): void {
    const excess = this.#all.length - mostKept;
    if (excess <= 0) return;
    const dropped = this.#all.splice(0, excess + 1);
    const last = dropped.at(-1);
    if (!last) return;
    this.#dropped += dropped.filter(({ volume }) => volume !== '').length;
    const message = `${this.#dropped} or more events of the sentinel until then are lost: no daemon took them`;
    const { number, at } = last;
    this.#all.unshift({ number, at, kind: 'failed', volume: '', message });
  }
}
