import { isShownElsewhere } from '../../linux/mount-namespaces.ts';
import { mountUsers } from '../../linux/mount-users.ts';
import { isMountpoint } from '../../linux/mountinfo.ts';
import type { Ticket } from '../../lock/ticket.ts';
import { isSameOwner } from '../../lock/ticket.ts';
import type { LockService } from '../../lock/use/lock-service.ts';
import { lockName } from '../../lock/use/use.ts';
import type { Clock } from '../../running/clock.ts';
import type { VolumeDriver } from '../drivers/driver.ts';
import { InUseError } from '../errors.ts';
import { volumeMounts } from '../mounts/found-mount.ts';
import type { FoundMounts } from '../mounts/found-mounts.ts';
import type { KeyedMutex } from '../mounts/keyed-mutex.ts';
import type { MountRecovery } from '../mounts/mount-recovery.ts';
import type { MountRow } from '../mounts/mount-table.ts';
import type { Mounts } from '../mounts/mounts.ts';
import type { Catalog } from '../records/catalog.ts';
import { claimKey } from '../records/claims.ts';
import type { Finding, Outcome, Treatment } from './finding.ts';
import { found, mended } from './finding.ts';
import { whileIdle } from './locks.ts';

export interface MountDoctorOptions {
  readonly catalog: Catalog;
  readonly drivers: ReadonlyMap<string, VolumeDriver>;
  readonly locks: LockService;
  readonly mounts: Mounts;
  readonly found: Pick<FoundMounts, 'lock' | 'forgetIfGone'>;
  readonly recovery: Pick<MountRecovery, 'adopt'>;
  readonly mutex: KeyedMutex;
  readonly mountDir: string;
  readonly clock: Clock;
  /** This host's identity, as tickets have it. */
  readonly owner: string;
  /** Knows the session of the mounts' locks. */
  readonly manager: { open(): Promise<{ readonly sessionId: string }> };
  readonly reconciler: {
    /** Compares the mounts with the engine's containers soon. Rejects when the engine is away. */
    check(): Promise<void>;
  };
}

/** A volume's mount according to the mount table, the kernel and the store. */
interface SeenMount {
  readonly row: MountRow | undefined;
  readonly isMounted: boolean;
  /** This host's tickets for mounting this volume. */
  readonly tickets: readonly Ticket[];
}

/** The comparison with the engine's containers may take this long. */
const reconcilePatienceMs = 6_000;

/**
 * Compares the mount table of this host with what its kernel has mounted and with the tickets that
 * it holds. Mounts and unmounts of a volume wait while the doctor examines it.
 */
export class MountDoctor {
  readonly #options: MountDoctorOptions;

  constructor(options: MountDoctorOptions) {
    this.#options = options;
  }

  async examine(treatment: Treatment): Promise<Outcome[]> {
    const outcomes: Outcome[] = [];
    for (const volume of await this.#volumes()) {
      const seen = await this.#options.mutex.run(volume, () =>
        this.#examineVolume(volume, treatment),
      );
      if (seen === undefined) continue;
      // A fix that waits for mounts or unmounts runs outside the mutex, or it would block them.
      const { finding, mendLater } = seen;
      outcomes.push(
        mendLater ? await mended(finding, mendLater) : { ...found(finding), ...seen.outcome },
      );
    }
    return outcomes;
  }

  /** Lists the volumes with any sign of a mount on this host. */
  async #volumes(): Promise<string[]> {
    const { mounts, locks } = this.#options;
    const mounted = (await volumeMounts(this.#options.mountDir)).map(({ volume }) => volume);
    const held = locks.tickets().filter(this.#isOurMount).flatMap(volumesOf);
    return [...new Set([...mounts.rows().map(({ volume }) => volume), ...mounted, ...held])].sort();
  }

  async #examineVolume(volume: string, { fix, signal }: Treatment): Promise<Seen | undefined> {
    const state = await this.#state(volume);
    if (state.row) return this.#examineRow(state.row, state, fix);
    if (state.isMounted) return this.#strayMount(volume, fix, signal);
    const [ticket] = state.tickets;
    return ticket && this.#lockWithoutMount(volume, ticket, fix);
  }

  async #examineRow(
    row: MountRow,
    { isMounted }: SeenMount,
    fix: boolean,
  ): Promise<Seen | undefined> {
    const { mounts } = this.#options;
    const { volume, mountpoint } = row;
    if (row.mountIds.size === 0) {
      const message = 'its mount on this host was interrupted, and could not be undone yet';
      const next = ['see the log of berth for the reason; berth retries by itself'];
      return { finding: { kind: 'interrupted-mount', what: volume, message, next } };
    }
    if (!isMounted) {
      const finding: Finding = {
        kind: 'mount-gone',
        what: volume,
        message: `is mounted on this host by berth's table, but nothing is mounted at ${mountpoint}`,
        fix: 'releases its lock and forgets the mount, unless a container uses it',
        next: ['restart the containers that use it: that mounts it again'],
      };
      return fix ? { finding, mendLater: () => this.#reconciled(volume) } : { finding };
    }
    const state = mounts.lockState(volume);
    if (state === 'held') return undefined;
    const finding: Finding = {
      kind: 'mount-without-lock',
      what: volume,
      message:
        state === 'lost'
          ? 'is mounted on this host, but its lock is lost: another host may hold it'
          : 'is mounted on this host, but this host can not prove that it holds the lock',
      fix: 'acquires the lock again, if nobody else holds it',
      next: [`find the holder: berth lock inspect ${volume}; then stop the containers here`],
    };
    return fix ? { finding, mendLater: () => this.#relocked(volume) } : { finding };
  }

  async #strayMount(volume: string, fix: boolean, signal: AbortSignal): Promise<Seen> {
    const { mounts, found, locks } = this.#options;
    const mountpoint = mounts.mountpoint(volume);
    const finding: Finding = {
      kind: 'stray-mount',
      what: volume,
      message: `is mounted at ${mountpoint}, but the mount is not in berth's table`,
      fix: 'unmounts it, unless it is in use',
      next: [`find the processes that use it: fuser -vm ${mountpoint}`],
    };
    if (!fix) return { finding };
    const outcome = await mended(finding, async () => {
      const own = found.lock(volume);
      if (own?.state === 'held') {
        await this.#unmount(volume, mountpoint, signal);
        await found.forgetIfGone(volume);
        return;
      }
      // Its last write is safe only while no other host holds the volume.
      const isDone = await whileIdle(locks, volume, signal, async ({ scope }) => {
        if (scope !== 'volume') return false;
        await this.#unmount(volume, mountpoint, signal);
        await found.forgetIfGone(volume);
        return true;
      });
      if (isDone) return;
      throw new InUseError(
        `volume ${volume} is held by another, or disabled; see: berth lock inspect ${volume}`,
      );
    });
    return { finding, outcome };
  }

  async #lockWithoutMount(volume: string, ticket: Ticket, fix: boolean): Promise<Seen> {
    const isOwn = ticket.session === (await this.#options.manager.open()).sessionId;
    const finding: Finding = {
      kind: 'lock-without-mount',
      what: volume,
      message: 'is locked by this host for a mount, but is not mounted here',
      since: ticket.holder.since,
      ...(isOwn && { fix: 'releases the lock' }),
      next: isOwn
        ? []
        : [
            'an earlier daemon of this host acquired it; it expires with that session',
            `or now: berth lock clear ${volume} --token ${ticket.token} --force`,
          ],
    };
    if (!fix || !isOwn) return { finding };
    const outcome = await mended(finding, async () => {
      const lock = await this.#options.locks.resume(ticket, () => {});
      await lock?.unlock({ claim: claimKey(volume, ticket.nonce) });
    });
    return { finding, outcome };
  }

  async #unmount(volume: string, mountpoint: string, signal: AbortSignal): Promise<void> {
    const { catalog, drivers } = this.#options;
    if (await isShownElsewhere(mountpoint)) {
      // Containers would go on writing without a lock.
      const users = await mountUsers(mountpoint);
      throw new InUseError(`${mountpoint} is in use by ${users.join(', ')}; stop them first`);
    }
    const record = (await catalog.read(volume))?.record;
    const [top] = (await volumeMounts(this.#options.mountDir)).filter(
      (mount) => mount.volume === volume,
    );
    const driver = record
      ? drivers.get(record.driver)
      : [...drivers.values()].find((each) => top && each.owns(top));
    if (!driver) {
      const which = record ? `the driver ${record.driver} is not here` : 'no driver here made it';
      throw new InUseError(`${which}; unmount it yourself: umount ${mountpoint}`);
    }
    await driver.unmount({ name: volume, options: record?.options ?? {} }, mountpoint, { signal });
  }

  async #relocked(volume: string): Promise<void> {
    const { mounts, recovery } = this.#options;
    await recovery.adopt();
    if (mounts.get(volume) === undefined || mounts.lockState(volume) === 'held') return;
    throw new InUseError(`the lock of volume ${volume} could not be acquired`);
  }

  async #reconciled(volume: string): Promise<void> {
    const { mounts, reconciler, clock } = this.#options;
    await reconciler.check();
    const deadline = clock.now() + reconcilePatienceMs;
    while (mounts.get(volume) !== undefined) {
      if (clock.now() > deadline) {
        throw new InUseError(`a container uses volume ${volume}`);
      }
      await clock.sleep(100);
    }
  }

  async #state(volume: string): Promise<SeenMount> {
    const { mounts, locks } = this.#options;
    const row = mounts.get(volume);
    return {
      row,
      isMounted: await isMountpoint(row?.mountpoint ?? mounts.mountpoint(volume)),
      tickets: locks.tickets(volume).filter(this.#isOurMount),
    };
  }

  readonly #isOurMount = ({ kind, owner }: Ticket) =>
    kind === 'mount' && isSameOwner(owner, this.#options.owner);
}

interface Seen {
  readonly finding: Finding;
  readonly outcome?: Outcome;
  /** Fixes the finding; acquires the volume's mutex itself. */
  readonly mendLater?: () => Promise<void>;
}

function volumesOf({ locks }: Ticket): string[] {
  const prefix = lockName('mount', '');
  return locks
    .filter(({ name }) => name.startsWith(prefix))
    .map(({ name }) => name.slice(prefix.length));
}
