import type { RememberedHistory } from '../../../lib/lock/stores/history-record.ts';
import type { TicketStore } from '../../../lib/lock/stores/ticket-store.ts';
import type { Ticket } from '../../../lib/lock/ticket.ts';
import type { Random } from '../random.ts';
import type { Party, Scheduler } from '../scheduler.ts';
import type { PutBackCommand } from './commands.ts';
import type { Happening } from './history.ts';
import type { HostClock } from './host-clock.ts';
import type { Link } from './link.ts';
import type { Mark } from './recording.ts';

/** The part of a host's disk that outlives its daemons. */
export interface HistoryDisk {
  history: RememberedHistory | undefined;
}

/** The parts of one daemon that its connection to the store needs. */
export interface ConnectionParts {
  /** The host's name, and that of this daemon. */
  readonly host: string;
  readonly life: string;
  readonly party: Party;
  readonly clock: HostClock;
  readonly link: Link;
  readonly disk: HistoryDisk;
  /** Makes a random stream for each purpose. */
  readonly random: (purpose: string) => Random;
}

/** The store of a simulation, and how a host reaches it. */
export interface SimulatedWorld extends Disposable {
  /** The number of sleeps that an idle connection of a host needs. */
  readonly sleepersPerHost: number;
  /** The number of timers of the store itself. */
  readonly sleeping: number;
  connect(parts: ConnectionParts): TicketStore;
  /** Returns the store itself, without a network. */
  direct(): TicketStore;
  /** Returns the number of a ticket in the records. */
  numberOf(ticket: Pick<Ticket, 'nonce' | 'token'>): number;
  /** Puts the store back; absent where it can't be. `known`: what each host remembers. */
  putBack?(
    command: PutBackCommand,
    known: readonly (RememberedHistory | undefined)[],
  ): Promise<void>;
}

export interface WorldParts {
  readonly scheduler: Scheduler;
  /** The process of the store. */
  readonly party: Party;
  readonly seed: number;
  /** Records an event: now, or at an earlier mark. */
  readonly record: (happening: Happening, mark?: Mark) => void;
  /** Marks the present place in the history. */
  readonly mark: () => Mark;
}

export type MakeWorld = (parts: WorldParts) => SimulatedWorld;
