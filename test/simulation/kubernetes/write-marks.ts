import type { StoreChange } from '../../../lib/lock/stores/ticket-store.ts';
import type { Ticket } from '../../../lib/lock/ticket.ts';
import type { Mark } from '../locks/recording.ts';

/**
 * The place of one step of the API server in the history, change by change: a write takes several steps of its
 * client, of which each is answered from the state between two changes.
 */
export class WriteMarks {
  readonly #mark: () => Mark;
  /** The marks before the first change and after each one, and the revisions that they show. */
  readonly #marks: Mark[];
  readonly #revisions: number[] = [];
  /** The mark before a ticket was removed, and before a gate was closed. */
  readonly #ends = new Map<string, number>();

  constructor(mark: () => Mark) {
    this.#mark = mark;
    this.#marks = [mark()];
  }

  /** Adds a change, whose events `record` records. */
  change(change: StoreChange, record: () => void): void {
    const before = this.#marks.length - 1;
    for (const { nonce } of change.removedTickets) this.#ends.set(`ticket ${nonce}`, before);
    for (const { lockName } of change.closedGates) this.#ends.set(`gate ${lockName}`, before);
    record();
    this.#marks.push(this.#mark());
    this.#revisions.push(change.revision);
  }

  /** Returns the latest place at which a ticket could be granted. */
  ofGrant({ nonce, locks }: Ticket): Mark {
    const ends = [`ticket ${nonce}`, ...locks.map(({ name }) => `gate ${name}`)];
    const last = this.#marks.length - 1;
    return this.#at(Math.min(last, ...ends.map((end) => this.#ends.get(end) ?? last)));
  }

  ofRevision(revision: number): Mark {
    return this.#at(this.#revisions.filter((each) => each <= revision).length);
  }

  get last(): Mark {
    return this.#at(this.#marks.length - 1);
  }

  #at(index: number): Mark {
    return this.#marks[index] ?? this.#mark();
  }
}
