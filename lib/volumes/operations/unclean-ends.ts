import type { StoreMirror } from '../../lock/engine/store-mirror.ts';
import type { TicketStore } from '../../lock/stores/ticket-store.ts';
import { isSameOwner } from '../../lock/ticket.ts';
import { InUseError, NotFoundError } from '../errors.ts';
import type { EventSink } from '../events.ts';
import type { Claim, Claimant, Claims } from '../records/claims.ts';
import { claimsIn } from '../records/claims.ts';

export interface UncleanEndsOptions {
  readonly claims: Pick<Claims, 'of' | 'release'>;
  readonly claimant: Pick<Claimant, 'owner'>;
  readonly mirror: Pick<StoreMirror, 'records' | 'ticket' | 'tickets'>;
  readonly store: Pick<TicketStore, 'sessionAlive'>;
  readonly events: EventSink;
}

/** An operator's word that a host can't write to a volume any more. */
export interface GoneRequest {
  readonly volume: string;
  /** The token of the Mount that the host did not end. */
  readonly token: number;
  /** Believe it although the host is alive. */
  readonly force: boolean;
}

/** The Mounts that other hosts have not ended, although their locks are gone. */
export class UncleanEnds {
  readonly #options: UncleanEndsOptions;

  constructor(options: UncleanEndsOptions) {
    this.#options = options;
  }

  /** Lists them, oldest first, as the mirror has them. */
  list(): Claim[] {
    return claimsIn([...this.#options.mirror.records()]).filter((claim) => this.#isUnclean(claim));
  }

  /** Reads all claims on a volume from the store (linearizable), also this host's. */
  claimsOn(volume: string): Promise<Claim[]> {
    return this.#options.claims.of(volume);
  }

  /**
   * Deletes the claim of a host of which an operator knows that it can't write any more: it was switched
   * off for good, or installed again from the start. Then nothing is taken over from that host, and
   * what was put aside for it is settled. Returns the claim. Rejects NotFoundError, which lists what there is, and InUseError if
   * the host has the lock or is alive: it ends its claim itself.
   */
  async confirmGone({ volume, token, force }: GoneRequest): Promise<Claim> {
    const { claims, mirror, events } = this.#options;
    const all = await claims.of(volume);
    const claim = all.find((each) => each.token === token);
    if (!claim || !this.#isUnclean(claim)) {
      if (claim && mirror.ticket(claim.mark)) {
        throw new InUseError(
          `host ${claim.host} has the lock of volume ${volume} or waits for it; if that host is gone, free ` +
            `the lock first: berth lock clear ${volume} --token ${token}`,
        );
      }
      const others = all.filter((each) => this.#isUnclean(each)).map(goneCommand);
      throw new NotFoundError(
        `volume ${volume} has no Mount with token ${token} that another host did not end; ` +
          (others.length === 0 ? 'there is none' : `there is: ${others.join('; ')}`),
      );
    }
    if (!force && claim.unreadable) {
      throw new InUseError(
        `it is not known which host mounted volume ${volume}, and whether that host is alive: ` +
          `${claim.unreadable.message}; only if that host is gone for good, add --force`,
      );
    }
    if (!force && (await this.#isAlive(claim))) {
      throw new InUseError(
        `host ${claim.host} is alive and ends its Mount of volume ${volume} itself, as soon as nothing ` +
          'there can write any more; only if that is not so, add --force',
      );
    }
    await claims.release(volume, claim.mark);
    const message = `an operator has confirmed that host ${claim.host}, which did not unmount it, can't write to it any more`;
    events.record({ severity: 'info', kind: 'host-gone', volume, message, token });
    return claim;
  }

  #isUnclean({ owner, mark }: Claim): boolean {
    const { claimant, mirror } = this.#options;
    return owner !== claimant.owner && mirror.ticket(mark) === undefined;
  }

  /** True if any session of that host is: it holds the host's own lock, at least. */
  async #isAlive({ owner }: Claim): Promise<boolean> {
    const { mirror, store } = this.#options;
    const tickets = mirror.tickets().filter((ticket) => isSameOwner(ticket.owner, owner));
    for (const session of new Set(tickets.map((ticket) => ticket.session))) {
      if (await store.sessionAlive(session)) return true;
    }
    return false;
  }
}

/** Returns the command by which an operator confirms that the host is gone. */
export function goneCommand({
  volume,
  token,
}: {
  readonly volume: string;
  readonly token: number;
}): string {
  return `berth lock clear ${volume} --token ${token} --host-gone`;
}
