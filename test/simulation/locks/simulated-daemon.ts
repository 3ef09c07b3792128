import type { LockManager } from '../../../lib/lock/lock-manager.ts';
import type { Party } from '../scheduler.ts';
import type { Connection } from './connection.ts';
import type { HostClock } from './host-clock.ts';
import type { Link } from './link.ts';

/** A daemon, from its start to its end. */
export interface Daemon {
  readonly party: Party;
  readonly clock: HostClock;
  readonly link: Link;
  readonly connection: Connection;
  readonly manager: LockManager;
}
