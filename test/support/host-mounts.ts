import { join } from 'node:path';
import type { AppendFile } from '../../lib/linux/append-file.ts';
import type { LockService } from '../../lib/lock/use/lock-service.ts';
import type { VolumeDriver } from '../../lib/volumes/drivers/driver.ts';
import type { FoundMount, MountsAt } from '../../lib/volumes/mounts/found-mount.ts';
import { FoundMounts } from '../../lib/volumes/mounts/found-mounts.ts';
import { KeyedMutex } from '../../lib/volumes/mounts/keyed-mutex.ts';
import type { MountFence } from '../../lib/volumes/mounts/mount-fence.ts';
import { MountRecovery } from '../../lib/volumes/mounts/mount-recovery.ts';
import { MountStates } from '../../lib/volumes/mounts/mount-state.ts';
import type { MountRow } from '../../lib/volumes/mounts/mount-table.ts';
import { MountTable } from '../../lib/volumes/mounts/mount-table.ts';
import { Mounts } from '../../lib/volumes/mounts/mounts.ts';
import type { RelockerOptions } from '../../lib/volumes/operations/relocker.ts';
import { relocker } from '../../lib/volumes/operations/relocker.ts';
import type { Catalog } from '../../lib/volumes/records/catalog.ts';
import type { Claims } from '../../lib/volumes/records/claims.ts';
import { lastUseNote } from '../../lib/volumes/records/last-uses.ts';
import { EventLog } from '../../plugin/events/event-log.ts';
import { noClaims } from './host-takeovers.ts';
import { ManualClock } from './manual-clock.ts';
import { noFence } from './no-fence.ts';

export interface HostMountsOptions {
  /** Keeps the mount table and the mountpoints. */
  readonly directory: string;
  readonly locks: LockService;
  readonly manager: RelockerOptions['manager'];
  /** The identity of the host. */
  readonly owner: string;
  readonly catalog: Catalog;
  readonly drivers: ReadonlyMap<string, VolumeDriver>;
  /** The mounts of the previous process. */
  readonly rows?: readonly MountRow[];
  /** The mounts of the previous process that are not in its table. */
  readonly untabled?: readonly FoundMount[];
  /** Plays the kernel's mount table. */
  readonly mountsAt?: MountsAt;
  readonly fence?: MountFence;
  /** Deletes the claims of mounts whose locks are gone. */
  readonly claims?: Pick<Claims, 'releaseOwn'>;
  /** The file of the mount table, if the test watches it. */
  readonly file?: AppendFile;
}

/** Makes the parts of a daemon that keep its mounts; the boot ID of its host is `boot`. */
export async function hostMounts({
  directory,
  locks,
  catalog,
  drivers,
  manager,
  owner,
  rows = [],
  untabled = [],
  mountsAt,
  fence = noFence,
  claims = noClaims,
  file,
}: HostMountsOptions) {
  const clock = new ManualClock();
  const table = await MountTable.open(join(directory, 'mounts.json'), clock, file);
  for (const row of rows) await table.put(row);
  const states = new MountStates(table.rows(), 'boot', untabled);
  const mutex = new KeyedMutex();
  const events = new EventLog();
  const mountDir = join(directory, 'mounts');
  const relocks = relocker({
    ...{ locks, catalog, manager, clock, isShared: true },
    claimant: { owner, host: owner, addresses: [], boot: 'boot' },
  });
  const noteUse = (volume: string) => lastUseNote(volume, owner, clock.date());
  const onHost = {
    ...{ table, states, drivers, mutex, fence, claims, bootId: 'boot', mountsAt, noteUse },
  };
  const found = new FoundMounts({ ...onHost, catalog, locks: relocks });
  const mounts = new Mounts({ ...onHost, mountDir });
  const recovery = new MountRecovery({
    ...{ ...onHost, mounts, found, locks: relocks, events },
  });
  const parts = { clock, table, states, mutex, noteUse, events, mountDir, mounts, found, recovery };
  return { ...parts, [Symbol.asyncDispose]: () => table[Symbol.asyncDispose]() };
}
