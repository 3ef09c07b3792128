import createDebug from 'debug';
import type { StoreMirror } from '../../lock/engine/store-mirror.ts';
import type { RecordNote } from '../../lock/stores/ticket-store.ts';
import type { LockService } from '../../lock/use/lock-service.ts';
import type { Clock } from '../../running/clock.ts';
import { UnavailableError } from '../errors.ts';
import type { FoundMounts } from '../mounts/found-mounts.ts';
import type { KeyedMutex } from '../mounts/keyed-mutex.ts';
import type { MountRecovery } from '../mounts/mount-recovery.ts';
import { checkMountId } from '../mounts/mount-row.ts';
import type { MountRow } from '../mounts/mount-table.ts';
import type { Mounts } from '../mounts/mounts.ts';
import type { Decision, OneContainer } from '../mounts/one-container.ts';
import { refusePodman } from '../mounts/one-container.ts';
import type { StandIn } from '../mounts/stand-in.ts';
import type { Catalog } from '../records/catalog.ts';
import { mountMarkKey, recordKey } from '../records/catalog.ts';
import type { Claimant } from '../records/claims.ts';
import { claimKey, claimPrefix, claimText } from '../records/claims.ts';
import type { CallContext } from '../service.ts';
import type { VolumeRecord } from '../volume.ts';
import { EarlyLook } from './early-look.ts';
import { disabledBy, translated } from './lock-refusals.ts';
import { locks } from './lock-table.ts';
import { refuseRenaming } from './rename-refusals.ts';
import type { Takeovers } from './takeovers.ts';
import type { Volumes } from './volumes.ts';

const log = createDebug('berth:mount');

/** The pause before the engine is asked again who uses a volume. */
const askAgainMs = 200;

export interface MountingOptions {
  readonly volumes: Volumes;
  readonly locks: LockService;
  readonly catalog: Catalog;
  readonly mirror: StoreMirror;
  readonly mounts: Mounts;
  readonly found: Pick<FoundMounts, 'refuse'>;
  readonly recovery: Pick<MountRecovery, 'onLockChange'>;
  readonly takeovers: Pick<Takeovers, 'before'>;
  readonly oneContainer: Pick<OneContainer, 'decide' | 'requireOne'>;
  readonly standIn: Pick<StandIn, 'path'>;
  /** This host, as its claims name it. */
  readonly claimant: Claimant;
  /** Returns the note that a use of a volume ends now. */
  readonly noteUse: (volume: string) => RecordNote;
  readonly mutex: KeyedMutex;
  readonly clock: Clock;
  /** How long a Mount waits for the lock, including its wait for other Mounts of the volume. */
  readonly lockTimeoutMs: number;
}

/** A decision of OneContainer about a row; it holds while the table has this row. */
interface Asked {
  readonly row: MountRow;
  readonly decision: Decision;
}

/** The Mount of a volume: one more use of a volume that is mounted here, or the first, under its lock. */
export class Mounting {
  readonly #options: MountingOptions;

  constructor(options: MountingOptions) {
    this.#options = options;
  }

  async mount(name: string, mountId: string, context: CallContext): Promise<string> {
    const { clock, lockTimeoutMs, mutex, mounts } = this.#options;
    const end = clock.now() + lockTimeoutMs;
    for (;;) {
      const row = mounts.get(name);
      const isSecond = row?.access === 'container' && !row.mountIds.has(mountId);
      const asked = isSecond ? await this.#ask(row, mountId, context) : undefined;
      const mountpoint = await mutex.run(name, async () => {
        const now = mounts.get(name);
        return now
          ? this.#again(now, mountId, asked, context)
          : this.#first(name, mountId, end, context);
      });
      if (mountpoint !== undefined) return mountpoint;
      // The volume was mounted or unmounted meanwhile, or nobody can say yet who asks.
      if (asked?.decision.verdict === 'wait') {
        if (clock.now() >= end) throw asked.decision.refusal;
        await clock.sleep(askAgainMs, context.signal);
      }
      context.signal.throwIfAborted();
    }
  }

  /**
   * Asks whether a new ID of a volume for one container is served. Without the volume's mutex: the answer
   * may take a second, in which an Unmount must not wait.
   */
  async #ask(row: MountRow, mountId: string, { signal }: CallContext): Promise<Asked> {
    checkMountId(mountId);
    refusePodman(row.volume, mountId);
    return { row, decision: await this.#options.oneContainer.decide(row, mountId, signal) };
  }

  /** Undefined: what was asked is not true of this row. */
  async #again(
    row: MountRow,
    mountId: string,
    asked: Asked | undefined,
    context: CallContext,
  ): Promise<string | undefined> {
    const { mounts, standIn } = this.#options;
    const { volume: name } = row;
    const isKnown = row.mountIds.has(mountId);
    if (!isKnown) {
      checkMountId(mountId);
      // One more user acquires no lock, so nothing but this checks the gates.
      const gates = this.#options.locks.gates(name);
      if (gates.length > 0) throw disabledBy(gates);
    }
    if (!isKnown && row.access === 'container') {
      if (asked?.row !== row || asked.decision.verdict === 'wait') return undefined;
      if (asked.decision.verdict === 'refuse') throw asked.decision.refusal;
      if (asked.decision.verdict === 'stand-in') return standIn.path();
    }
    return translated(name, () => mounts.use(row, mountId, context));
  }

  async #first(name: string, mountId: string, end: number, context: CallContext): Promise<string> {
    const { mounts, found, recovery, catalog, takeovers, clock } = this.#options;
    checkMountId(mountId);
    const record = this.#get(name);
    this.#options.volumes.requireHere(record);
    const { access, failover, driver } = record;
    if (access === 'container') refusePodman(name, mountId);
    await found.refuse(name);
    // Before the lock: to another host, a request for the lock counts as a use of the volume.
    const pool = new EarlyLook(clock, (its) => this.#options.volumes.requirePool(its));
    if (this.#options.mirror.isLive) await translated(name, () => pool.done(driver));
    const lock = await translated(name, () =>
      this.#options.locks.acquireWithTTLRefresh(locks.mount(name, access), {
        signal: context.signal,
        // The time in the mutex counts, or the last of many Mounts would wait for all before it.
        timeoutMs: Math.max(0, Math.round(end - clock.now())),
        detail: `mount ID ${mountId.slice(0, 12)}`,
        expires: failover === 'auto',
        ...(access === 'shared' ? {} : { mark: mountMarkKey(name), claim: this.#claim(name) }),
        read: recordKey(name),
        readBelow: claimPrefix(name),
        ...(context.onWait ? { onWait: context.onWait } : {}),
        onChange: recovery.onLockChange(name),
      }),
    );
    try {
      // Another host may have removed the volume after the mirror was read.
      const entry = catalog.entry(lock.read?.record);
      if (!entry) throw catalog.notFound(name);
      refuseRenaming(entry.record);
      if (entry.record.access !== access || entry.record.failover !== failover) {
        throw new UnavailableError(`volume ${name} was changed while this Mount waited; try again`);
      }
      this.#options.volumes.requireHere(entry.record);
      return await translated(name, async () => {
        await pool.done(entry.record.driver);
        await takeovers.before(entry.record, lock, context);
        const mountpoint = await mounts.mount(entry.record, mountId, lock, context);
        await this.#followRecord(name);
        return mountpoint;
      });
    } catch (error) {
      // A row that is left is a mount that could not be undone: its claim stands until it is.
      const isUnmounted = mounts.get(name) === undefined;
      const claim = isUnmounted ? claimKey(name, lock.ticket.nonce) : undefined;
      await lock.unlock({ claim, note: isUnmounted ? this.#options.noteUse(name) : undefined });
      throw error;
    }
  }

  /**
   * Takes over rules that another host has changed since the grant read the record. Never rejects: the
   * volume is mounted.
   */
  async #followRecord(name: string): Promise<void> {
    const { mounts, catalog } = this.#options;
    try {
      const row = mounts.get(name);
      const record = row && catalog.get(name);
      if (record) await mounts.changeRules(row, record);
    } catch (error) {
      log('volume=%s its rules could not be read: %s', name, error);
    }
  }

  #get(name: string): VolumeRecord {
    const record = this.#options.catalog.get(name);
    if (record) return record;
    throw this.#options.catalog.notFound(name);
  }

  #claim(volume: string): { prefix: string; value: string } {
    const { claimant, clock } = this.#options;
    return { prefix: claimPrefix(volume), value: claimText(claimant, clock.date()) };
  }
}
