import { LockManager } from '../../../lib/lock/lock-manager.ts';
import type { TicketStore } from '../../../lib/lock/stores/ticket-store.ts';
import { randomStream } from '../random.ts';
import type { Scheduler } from '../scheduler.ts';
import { Party } from '../scheduler.ts';
import { mainTtlMs } from './commands.ts';
import { HostClock } from './host-clock.ts';
import { Link } from './link.ts';
import type { HistoryDisk, SimulatedWorld } from './simulated-world.ts';

/** A daemon, from its start to its end. */
export interface Daemon {
  readonly party: Party;
  readonly clock: HostClock;
  readonly link: Link;
  readonly connection: TicketStore;
  readonly manager: LockManager;
}

/** The part of a host's disk that its daemons write. */
export interface DaemonDisk extends HistoryDisk {
  session: string | undefined;
}

export interface DaemonOptions {
  /** The host's name and identity, and the name of this daemon. */
  readonly name: string;
  readonly owner: string;
  readonly life: string;
  readonly seed: number;
  readonly scheduler: Scheduler;
  /** The process of the store. */
  readonly party: Party;
  readonly world: SimulatedWorld;
  readonly disk: DaemonDisk;
  /** The speed of the host's clock, and its reading at the start. */
  readonly rate: number;
  readonly startMs: number;
  /** The session of the daemon before this one. */
  readonly resume: string | undefined;
  readonly onFault: (what: string) => void;
  readonly newNonce: () => string;
}

/** Starts a daemon: a lock manager, on a connection of its own. */
export function startDaemon(options: DaemonOptions): Daemon {
  const { name, life, seed, scheduler, world, disk, rate, startMs, onFault } = options;
  const party = new Party(life);
  const random = (purpose: string) => randomStream(seed, `${life} ${purpose}`);
  const clock = new HostClock({ scheduler, party, rate, startMs, random: random('timers') });
  const link = new Link({ scheduler, client: party, server: options.party, random, onFault });
  const connection = world.connect({ host: name, life, party, clock, link, disk, random });
  const manager = new LockManager({
    store: connection,
    host: name,
    owner: options.owner,
    ttlMs: mainTtlMs,
    clock,
    keep: {
      resume: options.resume,
      save: async (id) => {
        disk.session = id;
      },
    },
    newNonce: options.newNonce,
  });
  return { party, clock, link, connection, manager };
}
