import type { Clock } from '../../running/clock.ts';
import type { Waiting } from '../stores/ticket-store.ts';
import type { StoreMirror } from './store-mirror.ts';

/** Wakes a waiter when a ticket or a gate that concerns it changes, and no other waiter. */
export class WakeUps {
  readonly #mirror: StoreMirror;
  /** Sleepers by the event that wakes them: a ticket's nonce, or a gate. */
  readonly #sleepers = new Map<string, Set<() => void>>();

  constructor(mirror: StoreMirror) {
    this.#mirror = mirror;
    mirror.listen((event) => {
      if (event.kind === 'change') {
        for (const { nonce } of event.change.removedTickets) this.#wake(nonce);
        for (const { lockName } of event.change.closedGates) this.#wake(gateOf(lockName));
      } else if (event.kind !== 'interrupted') {
        // A change may have been reported before the answer that `wait` got arrived.
        for (const sleeper of [...this.#sleepers.keys()]) this.#wake(sleeper);
      }
    });
  }

  /**
   * Resolves with true when the waiting ticket or one of its blockers is gone, when the gate of one
   * of its locks is closed, or when a signal aborts; with false after `limitMs`.
   */
  async wait(
    { ticket, blockers, revision }: Waiting,
    clock: Clock,
    limitMs: number,
    signals: readonly AbortSignal[],
  ): Promise<boolean> {
    // The mirror may have seen the change since the store's answer.
    const nonces = [ticket, ...blockers].map(({ nonce }) => nonce);
    const isSeen = this.#mirror.isLive && this.#mirror.revision >= revision;
    if (isSeen && nonces.some((nonce) => !this.#mirror.ticket(nonce))) return true;
    if (isSeen && ticket.locks.some(({ name }) => this.#mirror.gate(name))) return true;
    if (signals.some(({ aborted }) => aborted)) return true;
    const woken = new AbortController();
    const wake = () => woken.abort('woken');
    const events = [...nonces, ...ticket.locks.map(({ name }) => gateOf(name))];
    for (const event of events) this.#add(event, wake);
    for (const signal of signals) signal.addEventListener('abort', wake);
    try {
      await clock.sleep(limitMs, woken.signal);
      return woken.signal.aborted;
    } finally {
      for (const event of events) this.#delete(event, wake);
      for (const signal of signals) signal.removeEventListener('abort', wake);
    }
  }

  #wake(event: string): void {
    for (const wake of [...(this.#sleepers.get(event) ?? [])]) wake();
  }

  #add(event: string, wake: () => void): void {
    const sleepers = this.#sleepers.get(event) ?? new Set();
    sleepers.add(wake);
    this.#sleepers.set(event, sleepers);
  }

  #delete(event: string, wake: () => void): void {
    const sleepers = this.#sleepers.get(event);
    sleepers?.delete(wake);
    if (sleepers?.size === 0) this.#sleepers.delete(event);
  }
}

/** Returns the event for a lock's gate. Nonces contain no slash, so the two never clash. */
function gateOf(lockName: string): string {
  return `gate/${lockName}`;
}
