import createDebug from 'debug';
import {
  LockContendedError,
  ProofExpiredError,
  StoreUnavailableError,
} from '../../lib/lock/errors.ts';
import type { Lock } from '../../lib/lock/lock.ts';
import type { LockManager } from '../../lib/lock/lock-manager.ts';
import type { Ticket } from '../../lib/lock/ticket.ts';
import { KeptLock } from '../../lib/lock/use/kept-lock.ts';
import type { Clock } from '../../lib/running/clock.ts';
import { every } from '../../lib/running/every.ts';
import { messageOf } from '../../lib/running/message-of.ts';
import { SayOnce } from '../../lib/running/say-once.ts';
import type { MountRecovery } from '../../lib/volumes/mounts/mount-recovery.ts';

const log = createDebug('berth:host');
const retryMs = 1_000;

export interface MembershipOptions {
  readonly manager: LockManager;
  readonly recovery: Pick<MountRecovery, 'adopt' | 'putBack'>;
  readonly identity: string;
  readonly ttlMs: number;
  /** The session that this machine, or one that it is a copy of, had in an earlier boot. */
  readonly earlierSession?: string | undefined;
  readonly clock: Clock;
  /** Aborts when this daemon stops. */
  readonly signal: AbortSignal;
}

/** Another daemon with this host's identity runs. */
export class HostIdentityInUseError extends Error {
  override readonly name = 'HostIdentityInUseError';
}

/**
 * Joins the store as this host: acquires the host's own lock, so that no two daemons act as one host,
 * adopts the mounts of the previous daemon, and removes its other tickets.
 *
 * Repeats until the store answers, and keeps the lock until the signal aborts. Rejects
 * HostIdentityInUseError if another daemon with this identity is alive.
 */
export async function joinStore(options: MembershipOptions): Promise<void> {
  const { manager, recovery, ttlMs, clock, signal } = options;
  const startedAt = clock.now();
  let lock: Lock | undefined;
  for await (const _ of every(retryMs, clock, signal)) {
    try {
      const hasWaited = clock.now() - startedAt > ttlMs + retryMs;
      lock ??= await takeHostLock(options, hasWaited);
      if (await recovery.adopt()) {
        await manager.dropStrays();
        void stayJoined(lock, options);
        return;
      }
    } catch (error) {
      if (!isPassing(error)) throw error;
      log('waiting to join: %s', error.message);
    }
  }
}

async function takeHostLock(
  options: Pick<MembershipOptions, 'manager' | 'identity' | 'earlierSession'>,
  hasWaited: boolean,
  proof?: number,
): Promise<Lock> {
  const { manager, identity, earlierSession } = options;
  const name = `host/${identity}`;
  const { sessionId } = await manager.open();
  const tickets = await manager.inspect(name);
  const own = tickets.find(({ session }) => session === sessionId);
  const standing = own && (await manager.attach(own));
  if (standing) return standing;
  try {
    return await manager.lock([{ name, mode: 'exclusive' }], {
      kind: 'host',
      reason: 'Host',
      timeoutMs: 0,
      proof,
    });
  } catch (error) {
    if (error instanceof ProofExpiredError) return takeHostLock(options, hasWaited);
    if (!(error instanceof LockContendedError)) throw error;
    const [other] = error.blockers;
    if (other && proof !== undefined) {
      // It is this host's own, of an earlier session: another daemon would have needed the lock that
      // this one held until the store was put back.
      await manager.breakLock(other);
      throw error;
    }
    // A dead daemon that lost its state directory holds the lock until its session expires.
    // Nobody renews the session of an earlier boot, unless another machine is this one's original.
    const mayExpire = other?.session === earlierSession || !(await isAlive(manager, other));
    if (!other || (!hasWaited && mayExpire)) throw error;
    throw new HostIdentityInUseError(
      `another berth runs with this host's identity (${identity}, since ${other.holder.since}); ` +
        'stop it, or give this one another name with --host; a copy of a virtual machine also needs a ' +
        'machine ID of its own: rm /etc/machine-id && systemd-machine-id-setup',
    );
  }
}

async function isAlive(manager: LockManager, ticket: Ticket | undefined): Promise<boolean> {
  return ticket !== undefined && (await manager.isAlive(ticket));
}

/**
 * Keeps the host's own lock. It is lost when the store could not be reached for longer than the TTL.
 * Then it is acquired again, with a new session, and mounts re-acquire their locks.
 */
async function stayJoined(first: Lock, options: MembershipOptions): Promise<void> {
  const { manager, recovery, clock, signal } = options;
  const kept = (lock: Lock) =>
    new KeptLock(lock, manager, (state) => log("the host's own lock is %s", state));
  let lock = kept(first);
  const trouble = new SayOnce((text) => log('%s', text));
  await clock.sleep(retryMs, signal);
  for await (const _ of every(retryMs, clock, signal)) {
    try {
      // Before the host's own lock, which may have to wait for the end of a quarantine.
      await recovery.putBack();
      if (lock.state === 'unproven') await manager.open();
      if (lock.state === 'lost') {
        lock = kept(await takeHostLock(options, false, lock.proof));
        log("WARNING the host's own lock was lost and has been acquired again");
      }
      if (lock.state === 'held') await recovery.adopt();
      trouble.clear();
    } catch (error) {
      trouble.say(`${isPassing(error) ? 'waiting:' : 'ERROR'} ${messageOf(error)}`);
    }
  }
}

function isPassing(error: unknown): error is LockContendedError | StoreUnavailableError {
  return error instanceof StoreUnavailableError || error instanceof LockContendedError;
}
