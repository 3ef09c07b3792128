import type { Ticket } from '../../lock/ticket.ts';
import type { KeptLock, KeptLockState } from '../../lock/use/kept-lock.ts';
import type { MountRow } from './mount-table.ts';

export type OnLockChange = (state: KeptLockState) => void;

/** Takes the lock of a volume that is mounted here already. */
export interface Relocker {
  /** Finds this host's ticket for mounting a volume. Rejects while the store is away. */
  find(volume: string): Promise<Ticket | undefined>;
  /**
   * Resumes the lock that a row's ticket stands for; undefined when the ticket is gone, or when the
   * store has another history since: a ticket that stands again proves nothing.
   */
  resume(
    row: Pick<MountRow, 'ticket' | 'history'>,
    onChange: OnLockChange,
  ): Promise<KeptLock | undefined>;
  /**
   * Acquires the lock again, without waiting. Rejects InUseError when another host holds it, or when
   * another host has asked for it since it was mounted here (except with `on-lost=keep`, and on a
   * store of this host alone) or may have done so in a history of the store that is gone; and DisabledError while the volume is disabled.
   *
   * `proof`: this host held the lock until the store's history changed. The lock is then put back,
   * with its mark and its claim, whatever the store has of them. Rejects UnavailableError while a
   * ticket that was restored is in the way.
   */
  reacquire(row: MountRow, onChange: OnLockChange, proof: number | undefined): Promise<KeptLock>;
}
