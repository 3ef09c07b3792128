import type { KeptLock, KeptLockState } from '../../lock/use/kept-lock.ts';
import { InUseError, UnavailableError } from '../errors.ts';
import type { FoundMount } from './found-mount.ts';
import type { MountRow } from './mount-table.ts';

/** The part of a kept lock that a mount needs. */
export type MountLock = Pick<
  KeptLock,
  'state' | 'ticket' | 'token' | 'unlock' | 'confirm' | 'guard'
> &
  Partial<Pick<KeptLock, 'historyId' | 'proof'>>;

/**
 * The state of a volume that is mounted on this host. A volume has a state as long as it has a row
 * in the mount table, and while a mount of it without a row is neither taken over nor gone.
 *
 *     Mount ──▶ mounting ──▶ mounted ──────────▶ evicted
 *                  │          ▲   │ ticket gone    │
 *     undo failed  ▼  re-used │   ▼                ▼ ticket gone
 *     start ──▶ interrupted ──┴▶ unlocked ──▶ disabled, lost
 *
 *     start ──▶ found ──▶ mounted
 *
 * | state       | what is true                                        | who may write here          |
 * |-------------|-----------------------------------------------------|-----------------------------|
 * | mounting    | the lock is ours, the driver mounts; no ID is counted | nobody                    |
 * | mounted     | this process has the lock                           | the containers, while the   |
 * |             |                                                     | lock is `held`              |
 * | unlocked    | no lock in this process; another host may or may    | the containers, until the   |
 * |             | not hold it                                         | sentinel's last deadline    |
 * | disabled    | the same, and an operator has disabled the volume   | as unlocked                 |
 * | lost        | another host asked for the volume and may have it   | nobody; with `on-lost=keep` |
 * |             |                                                     | the containers, at a risk   |
 * | evicted     | the lock is ours until the containers have ended    | nobody: they are ended      |
 * | interrupted | a crash, a reboot or a failed roll back left the    | nobody                      |
 * |             | mount half made; it must be undone                  |                             |
 * | found       | the table has no row of it; it is mounted in the    | the containers, until the   |
 * |             | kernel, or an unreadable part of the table names    | sentinel's last deadline;   |
 * |             | it. `why`: it can't be taken over. Mount and Remove | no new ones                 |
 * |             | are refused                                         |                             |
 *
 * | state       | entered by                               | left by                                |
 * |-------------|------------------------------------------|----------------------------------------|
 * | mounting    | the first Mount                          | success: mounted; failure: no state,   |
 * |             |                                          | or interrupted if undoing failed, too  |
 * | mounted     | mounting; a resumed or re-acquired lock; | last Unmount: no state; ticket gone:   |
 * |             | a Mount of an interrupted volume         | unlocked; operator's clear: evicted    |
 * | unlocked    | a start of the daemon; a lock whose      | resumed or re-acquired: mounted;       |
 * |             | ticket is gone                           | refused: lost, disabled; last Unmount  |
 * | disabled    | a refused attempt to re-acquire          | enabled: mounted; else as unlocked     |
 * | lost        | a refused attempt to re-acquire          | fenced, or last Unmount: no state      |
 * | evicted     | an operator cleared the lock             | fenced, or last Unmount: no state;     |
 * |             |                                          | ticket gone: unlocked                  |
 * | interrupted | a start of the daemon; mounting          | undone: no state; a Mount that uses it |
 * |             |                                          | again: mounted or unlocked             |
 * | found       | a start of the daemon                    | its ticket is found and its row        |
 * |             |                                          | written: mounted; unmounted by         |
 * |             |                                          | somebody: no state                     |
 */
export type MountState =
  | { readonly is: 'mounting' | 'mounted' | 'evicted'; readonly lock: MountLock }
  | { readonly is: 'disabled' | 'lost' }
  /** `proof`: the lock was held until the store's history changed (`KeptLock.proof`). */
  | { readonly is: 'unlocked'; readonly proof?: number | undefined }
  | { readonly is: 'interrupted'; readonly lock?: MountLock }
  | {
      readonly is: 'found';
      readonly found: FoundMount;
      readonly lock?: MountLock;
      readonly why?: string;
    };

type Name = MountState['is'];

/** Every change of state that is allowed; `none` is a volume that is not mounted here. */
export const transitions: Readonly<Record<Name | 'none', readonly (Name | 'none')[]>> = {
  none: ['mounting', 'unlocked', 'interrupted', 'found'],
  mounting: ['mounted', 'interrupted', 'none'],
  mounted: ['unlocked', 'evicted', 'none'],
  unlocked: ['mounted', 'disabled', 'lost', 'none'],
  disabled: ['disabled', 'mounted', 'lost', 'none'],
  lost: ['none'],
  evicted: ['unlocked', 'none'],
  interrupted: ['interrupted', 'mounted', 'unlocked', 'evicted', 'none'],
  found: ['found', 'mounted', 'none'],
};

/**
 * The ownership of a mounted volume, as its users have to know it.
 *
 * - `held`: the volume is proved to be this host's.
 * - `unproven`: this can't be proved at the moment.
 * - `evicted`: it is this host's until its containers have ended, which they must do now.
 * - `lost`: it is another host's.
 */
export type Ownership = 'held' | 'unproven' | 'evicted' | 'lost';

/** The states of all volumes mounted on this host. Nothing else sets them. */
export class MountStates {
  readonly #states = new Map<string, MountState>();
  readonly #adopted = new Set<string>();

  /** Starts with the mounts of the process before, none of whose locks this process has yet. */
  constructor(rows: readonly MountRow[], bootId: string, found: readonly FoundMount[] = []) {
    for (const row of rows) {
      const isOver = row.mountIds.size === 0 || row.bootId !== bootId;
      this.enter(row.volume, { is: isOver ? 'interrupted' : 'unlocked' });
    }
    for (const each of found) this.enter(each.volume, { is: 'found', found: each });
    for (const volume of this.#states.keys()) this.#adopted.add(volume);
  }

  /** True if the volume's mount is older than this process. */
  isAdopted(volume: string): boolean {
    return this.#adopted.has(volume);
  }

  /** True if no volume is mounted on this host, as far as is known. */
  get isEmpty(): boolean {
    return this.#states.size === 0;
  }

  /** Lists the mounts without a row, with why each can't be taken over. */
  found(): { readonly found: FoundMount; readonly why?: string }[] {
    return [...this.#states.values()].filter((state) => state.is === 'found');
  }

  get(volume: string): MountState | undefined {
    return this.#states.get(volume);
  }

  /** The lock that this process has for a volume mounted here. */
  lock(volume: string): MountLock | undefined {
    const state = this.#states.get(volume);
    return state && 'lock' in state ? state.lock : undefined;
  }

  /** Throws when the change is not in `transitions`: the caller has a fault. */
  enter(volume: string, state: MountState): void {
    this.#check(volume, state.is);
    this.#states.set(volume, state);
  }

  /** Forgets a volume that is not mounted any more, and hands its lock to the caller. */
  leave(volume: string): MountLock | undefined {
    this.#check(volume, 'none');
    const lock = this.lock(volume);
    this.#states.delete(volume);
    this.#adopted.delete(volume);
    return lock;
  }

  /** The proof with which the lock of a volume can be put back after a change of history. */
  proof(volume: string): number | undefined {
    const state = this.#states.get(volume);
    return state?.is === 'unlocked' ? state.proof : undefined;
  }

  ownership(volume: string): Ownership {
    const state = this.#states.get(volume);
    if (state?.is === 'lost' || state?.is === 'evicted') return state.is;
    return this.lock(volume)?.state === 'held' ? 'held' : 'unproven';
  }

  /** The ownership as the state of a lock, for people. */
  lockState(volume: string): KeptLockState {
    const ownership = this.ownership(volume);
    return ownership === 'evicted' ? 'lost' : ownership;
  }

  /** Throws unless this host can prove that the volume is its own. */
  requireHeld(volume: string): void {
    const ownership = this.ownership(volume);
    if (ownership === 'held') return;
    if (ownership === 'unproven') {
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

  #check(volume: string, next: Name | 'none'): void {
    const before = this.#states.get(volume)?.is ?? 'none';
    if (transitions[before].includes(next)) return;
    throw new Error(`the mount of volume ${volume} can't go from ${before} to ${next}`);
  }
}
