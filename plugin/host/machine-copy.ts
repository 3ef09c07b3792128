import createDebug from 'debug';
import type { Condition } from '../../lib/lock/condition.ts';
import type { TicketStore } from '../../lib/lock/stores/ticket-store.ts';
import type { Clock } from '../../lib/running/clock.ts';
import { every } from '../../lib/running/every.ts';
import { messageOf } from '../../lib/running/message-of.ts';
import type { EventSink } from '../../lib/volumes/events.ts';
import type { StateOwner } from './state-owner.ts';

const log = createDebug('berth:host');
/** A session is renewed every third of its TTL: by then the store has seen a renewal, or misses one. */
const renewalsPerTtl = 3;
const retryMs = 1_000;

export interface MachineCopyOptions {
  readonly store: Pick<TicketStore, 'sessionAlive'>;
  readonly stateOwner: StateOwner;
  /** The session of an earlier boot that the state directory names. */
  readonly earlierSession: string | undefined;
  readonly ttlMs: number;
  /** Forgets the earlier session, which has ended. */
  readonly forget: () => Promise<void>;
  readonly events: EventSink;
  readonly clock: Clock;
  /** Aborts when the daemon stops. */
  readonly signal: AbortSignal;
}

const remedy =
  'give this machine an ID of its own (rm /etc/machine-id && systemd-machine-id-setup), stop berth, ' +
  'empty its state directory, and start it with a --host of its own';

/**
 * Finds out whether this machine is a copy of another one that runs, and says so. It harms nobody:
 * nothing of the original's session is used (`state-owner.ts`). But both have one machine ID.
 */
export class MachineCopy {
  readonly #options: MachineCopyOptions;
  #isOriginalAlive = false;

  constructor(options: MachineCopyOptions) {
    this.#options = options;
    const message = copiedMessage(options.stateOwner);
    if (message)
      options.events.record({ severity: 'warning', kind: 'copied', volume: '', message });
  }

  /** Resolves when it is known whether somebody renews the session of the earlier boot. */
  async run(): Promise<void> {
    const { store, earlierSession, ttlMs, forget, events, clock, signal } = this.#options;
    if (earlierSession === undefined) return;
    // If its last renewal was one of this machine, it counts as dead by then.
    await clock.sleep(ttlMs + ttlMs / renewalsPerTtl, signal);
    for await (const _ of every(retryMs, clock, signal)) {
      try {
        this.#isOriginalAlive = await store.sessionAlive(earlierSession);
        break;
      } catch (error) {
        log('whether this machine is a copy is not known yet: %s', messageOf(error));
      }
    }
    if (signal.aborted) return;
    if (!this.#isOriginalAlive) return await forget();
    events.record({ severity: 'warning', kind: 'copied', volume: '', message: aliveMessage() });
  }

  conditions(): Condition[] {
    const copied = copiedMessage(this.#options.stateOwner);
    const alive = this.#isOriginalAlive ? aliveMessage() : undefined;
    return [copied, alive].flatMap((message) =>
      message ? [{ severity: 'warning', message }] : [],
    );
  }
}

function aliveMessage(): string {
  return (
    'the session of this state directory is renewed by another machine, so this machine is a copy of ' +
    `one that runs; ${remedy}`
  );
}

function copiedMessage(owner: StateOwner): string | undefined {
  if (owner.is !== 'copied') return undefined;
  return (
    `the state directory was copied from another machine, the host ${owner.from}: its session and ` +
    `mounts are not used, and are kept in ${owner.aside}; delete that when nobody needs it`
  );
}
