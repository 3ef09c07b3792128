import type { Clock } from '../running/clock.ts';
import type { OptionKinds } from './check-options.ts';
import type { SessionOptions } from './engine/session.ts';
import type { LockObserver } from './observer.ts';
import type { TicketStore } from './stores/ticket-store.ts';
import type { LockTracer } from './tracer.ts';

export interface LockManagerOptions {
  readonly store: TicketStore;
  /** The host's name, for people. */
  readonly host: string;
  /** The host's identity, unique among all hosts: machine id and name. */
  readonly owner: string;
  readonly ttlMs: number;
  /** Why locks are taken, for people, where the request does not say; `Lock` when left out. */
  readonly reason?: string;
  readonly clock?: Clock;
  /**
   * Present when the session, with its tickets, must survive a restart of this process. Locks that
   * outlive the host (`ttlMs: Infinity`) need this option.
   */
  readonly keep?: NonNullable<SessionOptions['keep']>;
  /** Receives a span for each request and each unlock. */
  readonly tracer?: LockTracer;
  readonly observer?: LockObserver;
  /** Returns random and unique texts; a simulation passes its own function. */
  readonly newNonce?: () => string;
}

/** The options of a manager, each with what its value has to be. */
export const managerOptions = {
  store: 'an object',
  host: 'a text',
  owner: 'a text',
  ttlMs: 'a number',
  reason: 'a text',
  clock: 'an object',
  keep: 'an object',
  tracer: 'an object',
  observer: 'an object',
  newNonce: 'a function',
} as const satisfies OptionKinds<Required<LockManagerOptions>>;
