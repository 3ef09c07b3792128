/** A process that receives events, and that can be frozen or killed. */
export class Party {
  readonly name: string;
  state: 'running' | 'paused' | 'gone' = 'running';
  /** The events that were due while it was frozen. */
  readonly heldBack: Scheduled[] = [];

  constructor(name: string) {
    this.name = name;
  }
}

export interface Scheduled {
  readonly at: number;
  readonly order: number;
  readonly party: Party;
  readonly kind: 'timer' | 'message';
  /** The action; undefined once it was cancelled. */
  run: (() => void) | undefined;
}

/**
 * Virtual time: it stands still while anything runs, and jumps to the next event when all promises
 * have settled. All sleeps and messages of a simulation go through it, so that the same events
 * happen in the same order each time.
 */
export class Scheduler {
  readonly #settled = settler();
  readonly #heap: Scheduled[] = [];
  #now = 0;
  #scheduled = 0;

  /** Milliseconds since the simulation began. */
  get now(): number {
    return this.#now;
  }

  after(ms: number, party: Party, kind: Scheduled['kind'], run: () => void): Scheduled {
    const scheduled = { at: this.#now + ms, order: this.#scheduled, party, kind, run };
    this.#scheduled += 1;
    this.#push(scheduled);
    return scheduled;
  }

  /** Lets `ms` pass, or less when `isDone` returns true after an event. */
  async pass(ms: number, isDone: () => boolean = () => false): Promise<void> {
    const end = this.#now + ms;
    await this.#settled();
    while (!isDone()) {
      const next = this.#heap[0];
      if (next === undefined || next.at > end) {
        this.#now = end;
        return;
      }
      this.#pop();
      if (next.run === undefined || next.party.state === 'gone') continue;
      if (next.party.state === 'paused') {
        next.party.heldBack.push(next);
        continue;
      }
      this.#now = Math.max(this.#now, next.at);
      next.run();
      await this.#settled();
    }
  }

  /** Wakes a frozen party: everything that it missed happens now, one after another. */
  resume(party: Party, first: 'due' | Scheduled['kind']): void {
    if (party.state !== 'paused') return;
    party.state = 'running';
    const missed = party.heldBack.splice(0).sort(byTime);
    const ordered =
      first === 'due'
        ? missed
        : [
            ...missed.filter(({ kind }) => kind === first),
            ...missed.filter(({ kind }) => kind !== first),
          ];
    for (const event of ordered) {
      this.#push({
        ...event,
        at: this.#now,
        order: this.#scheduled,
        // Looked up when it runs, since an earlier event may cancel it.
        run: () => event.run?.(),
      });
      this.#scheduled += 1;
    }
  }

  #push(scheduled: Scheduled): void {
    const heap = this.#heap;
    let at = heap.push(scheduled) - 1;
    while (at > 0) {
      const up = (at - 1) >> 1;
      const parent = heap[up];
      if (parent === undefined || byTime(parent, scheduled) <= 0) break;
      heap[at] = parent;
      at = up;
    }
    heap[at] = scheduled;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let at = 0;
    for (;;) {
      const left = heap[2 * at + 1];
      const right = heap[2 * at + 2];
      if (left === undefined) break;
      const isRight = right !== undefined && byTime(right, left) < 0;
      const least = isRight ? right : left;
      if (byTime(last, least) <= 0) break;
      heap[at] = least;
      at = 2 * at + (isRight ? 2 : 1);
    }
    heap[at] = last;
  }
}

/** Real time passes after this many events, so that real timers (of fast-check, of Jest) can run. */
const eventsPerTurn = 256;

/**
 * Returns a function that resolves after all promises that can settle have settled, however long
 * the chain. Node runs its queue of ticks when no promise is left to settle; a turn of the event
 * loop does the same and takes 20 times as long.
 */
function settler(): () => Promise<void> {
  let events = 0;
  return () => {
    events += 1;
    return new Promise((resolve) => {
      if (events % eventsPerTurn === 0) setImmediate(resolve);
      else process.nextTick(resolve);
    });
  };
}

function byTime(a: Scheduled, b: Scheduled): number {
  return a.at - b.at || a.order - b.order;
}
