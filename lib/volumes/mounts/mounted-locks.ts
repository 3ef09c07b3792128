import createDebug from 'debug';
import type { KeptLock, KeptLockState } from '../../lock/use/kept-lock.ts';
import { DisabledError, InUseError, UnavailableError } from '../errors.ts';
import type { MountRow } from './mount-table.ts';

const log = createDebug('berth:mount');

/** How the lock of a volume that is mounted here already is taken. */
export interface MountLocks {
  /** Takes back the lock that a row's ticket stands for; undefined when the ticket is gone. */
  resume(row: MountRow, onChange: OnLockChange): Promise<KeptLock | undefined>;
  /**
   * Takes the lock anew, without waiting. Rejects InUseError with who holds it, or when the volume
   * is one to be fenced and somebody has asked for it since it was mounted; and DisabledError while
   * nobody may have it.
   */
  reacquire(row: MountRow, onChange: OnLockChange): Promise<KeptLock>;
}

export type OnLockChange = (state: KeptLockState) => void;

/**
 * Whether a volume mounted here may be used: `held`, it is ours; `unproven`, it can't be said now;
 * `evicted`, it is ours until its users have ended, which has to be now; `lost`, it is not ours.
 */
export type Tenure = 'held' | 'unproven' | 'evicted' | 'lost';

/** The lock of each volume mounted on this host, as far as this process has it. */
export class MountedLocks {
  readonly #locks = new Map<string, KeptLock>();
  /** Mounted here while somebody else has the lock. */
  readonly #lost = new Set<string>();
  /** Mounted here until those who use it have ended. */
  readonly #evicted = new Set<string>();
  /** Mounted here without a lock until they are enabled. */
  readonly #disabled = new Set<string>();

  get(volume: string): KeptLock | undefined {
    return this.#locks.get(volume);
  }

  set(volume: string, lock: KeptLock): void {
    this.#locks.set(volume, lock);
    this.#lost.delete(volume);
    this.#disabled.delete(volume);
  }

  /**
   * Takes the lock of a volume that is mounted here without one. Undefined: somebody else has it,
   * which is for good; or the volume is disabled, so that nobody has it, and it is still missing.
   */
  async retake(volume: string, take: () => Promise<KeptLock>): Promise<KeptLock | undefined> {
    try {
      const lock = await take();
      this.set(volume, lock);
      return lock;
    } catch (error) {
      if (error instanceof DisabledError) {
        if (!this.#disabled.has(volume)) {
          log('WARNING volume=%s is mounted here without a lock: %s', volume, error.message);
        }
        this.#disabled.add(volume);
      } else if (error instanceof InUseError) {
        this.#locks.delete(volume);
        this.#lost.add(volume);
        log('ERROR volume=%s is mounted here but its lock is not ours: %s', volume, error.message);
      } else {
        throw error;
      }
      return undefined;
    }
  }

  /** Hands the lock over to the caller, if there is one, and forgets the volume. */
  take(volume: string): KeptLock | undefined {
    const lock = this.#locks.get(volume);
    this.#locks.delete(volume);
    this.#lost.delete(volume);
    this.#evicted.delete(volume);
    this.#disabled.delete(volume);
    return lock;
  }

  /** Its lock is ours still, but is to be let go of. */
  evict(volume: string): void {
    this.#evicted.add(volume);
  }

  /** What those who use the volume here have to know. */
  tenure(volume: string): Tenure {
    if (this.#lost.has(volume)) return 'lost';
    if (this.#evicted.has(volume)) return 'evicted';
    return this.state(volume) === 'held' ? 'held' : 'unproven';
  }

  /** Not held, and nobody else is known to have it: the store was away, or it is disabled. */
  isMissing(volume: string): boolean {
    return !this.#locks.has(volume) && !this.#lost.has(volume);
  }

  /** `held` only while this host can prove that the volume is its own. */
  state(volume: string): KeptLockState {
    if (this.#lost.has(volume) || this.#evicted.has(volume)) return 'lost';
    return this.#locks.get(volume)?.state ?? 'unproven';
  }

  /** For what only the host may do that can prove that the volume is its own. */
  require(volume: string): void {
    const state = this.state(volume);
    if (state === 'held') return;
    if (state === 'unproven') {
      throw new UnavailableError(
        `volume ${volume} is mounted on this host, but the store can't be reached to prove that ` +
          'it still belongs to it; containers that use it go on, new ones have to wait',
      );
    }
    throw new InUseError(
      `this host lost the lock on volume ${volume} while it was mounted; stop the containers ` +
        'here that use it, then start them again',
    );
  }
}
