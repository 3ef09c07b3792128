import type { Clock } from './clock.ts';
import type { StoreMirror } from './store-mirror.ts';
import type { Waiting } from './stores/ticket-store.ts';

/** Wakes each waiter when one of the few tickets that matter to it goes, and nobody else. */
export class WakeUps {
  readonly #mirror: StoreMirror;
  readonly #sleepers = new Map<string, Set<() => void>>();

  constructor(mirror: StoreMirror) {
    this.#mirror = mirror;
    mirror.listen((event) => {
      if (event.kind === 'change') {
        for (const { nonce } of event.change.removedTickets) this.#wake(nonce);
      } else if (event.kind === 'reset') {
        for (const nonce of [...this.#sleepers.keys()]) this.#wake(nonce);
      }
    });
  }

  /** Resolves when a ticket of `nonces` is gone, after `limitMs`, or when a signal aborts. */
  async wait(
    nonces: readonly string[],
    { revision }: Waiting,
    clock: Clock,
    limitMs: number,
    signals: readonly AbortSignal[],
  ): Promise<void> {
    // The mirror may have seen it go between the store's answer and now.
    const isSeen = this.#mirror.isLive && this.#mirror.revision >= revision;
    if (isSeen && nonces.some((nonce) => !this.#mirror.ticket(nonce))) return;
    if (signals.some(({ aborted }) => aborted)) return;
    const woken = new AbortController();
    const wake = () => woken.abort('woken');
    for (const nonce of nonces) this.#add(nonce, wake);
    for (const signal of signals) signal.addEventListener('abort', wake);
    try {
      await clock.sleep(limitMs, woken.signal);
    } finally {
      for (const nonce of nonces) this.#delete(nonce, wake);
      for (const signal of signals) signal.removeEventListener('abort', wake);
    }
  }

  #wake(nonce: string): void {
    for (const wake of [...(this.#sleepers.get(nonce) ?? [])]) wake();
  }

  #add(nonce: string, wake: () => void): void {
    const sleepers = this.#sleepers.get(nonce) ?? new Set();
    sleepers.add(wake);
    this.#sleepers.set(nonce, sleepers);
  }

  #delete(nonce: string, wake: () => void): void {
    const sleepers = this.#sleepers.get(nonce);
    sleepers?.delete(wake);
    if (sleepers?.size === 0) this.#sleepers.delete(nonce);
  }
}
