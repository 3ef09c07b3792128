import type { TicketStore } from '../../lib/lock/stores/ticket-store.ts';
import type { Clock } from '../../lib/running/clock.ts';
import type { VolumeDriver } from '../../lib/volumes/drivers/driver.ts';
import type { EventSink } from '../../lib/volumes/events.ts';
import { Fencing } from '../../lib/volumes/operations/fencing.ts';
import { Takeovers } from '../../lib/volumes/operations/takeovers.ts';
import { Claims } from '../../lib/volumes/records/claims.ts';

/** Keeps the claims of mounts that have ended: for tests that look at no claims. */
export const noClaims = { release: async () => {}, releaseOwn: async () => {} };

export interface HostTakeoversOptions {
  readonly store: TicketStore;
  readonly drivers: ReadonlyMap<string, VolumeDriver>;
  readonly events: EventSink;
  readonly clock: Clock;
  /** The name of the host, which is its identity, too. */
  readonly host?: string;
}

/** Makes the parts of a daemon that take volumes over. */
export function hostTakeovers({ host = 'n1', ...options }: HostTakeoversOptions) {
  const claims = new Claims(options.store, host);
  const claimant = { owner: host, host, addresses: [], boot: 'boot' };
  const fencing = new Fencing({ drivers: options.drivers, hasOtherHosts: true });
  const takeovers = new Takeovers({ ...options, claims, claimant, fencing });
  return { claims, claimant, fencing, takeovers };
}
