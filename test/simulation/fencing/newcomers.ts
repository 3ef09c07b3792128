import type { Party } from '../scheduler.ts';
import type { Record } from './history.ts';
import type { KernelUser } from './kernel-user.ts';
import type { Machine } from './machine.ts';

/** A sentinel stops a user that has just appeared within this time, and two scans. */
const reactionMs = 1_500;

interface Excuse {
  /** Undefined: it excuses all users. */
  readonly user: string | undefined;
  readonly why: string;
  readonly untilMs: number;
}

/** Excuses users of a host that a sentinel can't know yet: it has to look for them first. */
export class Newcomers {
  isCrowded = false;
  /** How long a scan takes because of other processes. */
  scanMs = 0;
  readonly #machine: Machine;
  readonly #party: Party;
  readonly #record: Record;
  /** The excuse of each user, and under its reason the excuse of all users of the host. */
  readonly #excuses = new Map<KernelUser | string, Excuse>();

  constructor(machine: Machine, party: Party, record: Record) {
    this.#machine = machine;
    this.#party = party;
    this.#record = record;
  }

  /** How long a sentinel may take to stop a user that it has never seen. */
  get reactionMs(): number {
    return reactionMs + 2 * this.scanMs;
  }

  excuse(user: KernelUser, why: string): void {
    // Containers are looked for also beside a scan that takes long.
    const isContainer = user.options.kind === 'container';
    this.#excuse(user, user.key, why, isContainer ? reactionMs : this.reactionMs);
  }

  /** Excuses all users of the host, for one reason at a time until the last moment that was said. */
  excuseAll(why: string, ms: number): void {
    this.#excuse(why, undefined, why, ms);
  }

  forget(user: KernelUser): void {
    this.#excuses.delete(user);
  }

  /** The machine goes on: a sentinel reacts to those who appeared before its pause only from now on. */
  continueAfter(pausedAt: number): void {
    this.#prolong(pausedAt, 0);
  }

  /** Lets each excuse last as long from now as it still did at that time, and longer. */
  #prolong(sinceMs: number, byMs: number): void {
    for (const [of, { user, why, untilMs }] of this.#excuses) {
      if (untilMs > sinceMs) this.#excuse(of, user, why, untilMs - sinceMs + byMs);
      else this.#excuses.delete(of);
    }
  }

  /** Adds so many processes that a scan takes `scanMs` longer. */
  crowd(scanMs: number): void {
    this.isCrowded = true;
    this.scanMs = scanMs;
    this.#prolong(this.#machine.scheduler.now, 2 * scanMs);
    this.#noteSleep(Number.POSITIVE_INFINITY);
  }

  /** Removes those of `crowd`; a scan that began just before still takes as long. */
  disperse(): void {
    if (!this.isCrowded) return;
    this.isCrowded = false;
    const lastMs = 2 * this.scanMs;
    this.#noteSleep(this.#machine.scheduler.now + lastMs);
    this.#machine.scheduler.after(lastMs, this.#party, 'timer', () => {
      if (!this.isCrowded) this.scanMs = 0;
    });
  }

  #excuse(of: KernelUser | string, user: string | undefined, why: string, ms: number): void {
    const untilMs = this.#machine.scheduler.now + ms;
    this.#excuses.set(of, { user, why, untilMs });
    this.#record({ kind: 'excused', host: this.#machine.name, user, untilMs, why });
  }

  /** A fence may take as long as a scan, as it may while a process sleeps. */
  #noteSleep(untilMs: number): void {
    this.#record({ kind: 'sleeps', host: this.#machine.name, in: 'a crowd', untilMs });
  }
}
