import type { Ticket } from '../../lock/ticket.ts';
import type { KeptLock, KeptLockState } from '../../lock/use/kept-lock.ts';
import type { MountRow } from './mount-table.ts';

export type OnLockChange = (state: KeptLockState) => void;

/** Takes the lock of a volume that is mounted here already. */
export interface Relocker {
  /** Finds this host's ticket for mounting a volume. Rejects while the store is away. */
  find(volume: string): Promise<Ticket | undefined>;
  /** Resumes the lock that a row's ticket stands for; undefined when the ticket is gone. */
  resume(row: Pick<MountRow, 'ticket'>, onChange: OnLockChange): Promise<KeptLock | undefined>;
  /**
   * Acquires the lock again, without waiting. Rejects InUseError when another host holds it, or when
   * another host has asked for it since it was mounted here (except with `on-lost=keep`), and
   * DisabledError while the volume is disabled.
   */
  reacquire(row: MountRow, onChange: OnLockChange): Promise<KeptLock>;
}
