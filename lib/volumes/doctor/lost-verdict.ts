import type { StoredRecord } from '../../lock/stores/ticket-store.ts';
import { messageOf } from '../../running/message-of.ts';
import type { VolumeDriver } from '../drivers/driver.ts';
import { readRecord } from '../records/catalog.ts';
import { readRemoved } from '../records/removed-volumes.ts';
import { isStoredOn } from '../stored-on.ts';
import { UnreadableRecordError } from '../stored-text.ts';
import type { VolumeRecord } from '../volume.ts';

/**
 * The verdict on a record that the store has lost, for the time when the remembered records are put back:
 * - `write`: it is written.
 * - `leave`: it is not put back, because what it names was removed meanwhile.
 * - `wait`: this host can't tell now, so the records are not put back completely.
 */
export type Verdict =
  | { readonly is: 'write' }
  | { readonly is: 'leave' | 'wait'; readonly why: string };

export interface JudgeOptions {
  readonly drivers: ReadonlyMap<string, VolumeDriver>;
  /** The name of this host. */
  readonly host: string;
}

/**
 * Decides about the record of a volume: the storage tells whether it was removed while this host was away.
 * `cluster`: the ID that the pool's mark must have; undefined: it is not known, so the volumes of a pool wait.
 */
export async function judgeVolume(
  stored: StoredRecord,
  cluster: string | undefined,
  { drivers, host }: JudgeOptions,
): Promise<Verdict> {
  const record = readable(() => readRecord(stored).record);
  if (record instanceof UnreadableRecordError) return { is: 'wait', why: record.message };
  const driver = drivers.get(record.driver);
  if (!driver) return { is: 'wait', why: `this host has no driver ${record.driver}` };
  // What a host keeps in its own memory is not there after a boot, and no other host can see it.
  if (driver.capabilities.hostOnly || !isStoredOn(host, record, driver)) return { is: 'write' };
  return await inPool(driver, cluster, async () => {
    const names = namesOf(record);
    for (const name of names) if (await driver.storage.find(name)) return { is: 'write' };
    return { is: 'leave', why: 'its storage is gone: it was removed while this host was away' };
  });
}

/** Decides about the record of a removed volume that the trash keeps. */
export async function judgeRemoved(
  stored: StoredRecord,
  cluster: string | undefined,
  { drivers }: JudgeOptions,
): Promise<Verdict> {
  const removed = readable(() => readRemoved(stored));
  if (removed instanceof UnreadableRecordError) return { is: 'wait', why: removed.message };
  const driver = drivers.get(removed.driver);
  const trash = driver?.trash;
  if (!driver || !trash) return { is: 'wait', why: `this host has no trash of ${removed.driver}` };
  return await inPool(driver, cluster, async () => {
    const isThere = (await trash.entries()).some(
      ({ volume, id }) => volume === removed.volume && id === removed.id,
    );
    return isThere ? { is: 'write' } : { is: 'leave', why: 'the trash does not have it any more' };
  });
}

async function inPool(
  driver: VolumeDriver,
  cluster: string | undefined,
  look: () => Promise<Verdict>,
): Promise<Verdict> {
  const at = `the pool of driver ${driver.name} at ${driver.pool.place}`;
  try {
    const { mark, unmounted } = await driver.pool.look();
    if (unmounted !== undefined) return { is: 'wait', why: `${unmounted} is not mounted` };
    if (mark === undefined) return { is: 'wait', why: `${at} has no mark; is it mounted?` };
    if (cluster === undefined) {
      return { is: 'wait', why: `it is not known whether ${at} is of the cluster of this record` };
    }
    if (mark !== cluster) {
      return { is: 'wait', why: `${at} has the mark of another cluster` };
    }
    return await look();
  } catch (error) {
    return { is: 'wait', why: `${at} can't be read: ${messageOf(error)}` };
  }
}

/** A rename that was interrupted may have left the storage under either name. */
function namesOf({ name, renamingTo, renamingFrom }: VolumeRecord): string[] {
  return [name, renamingTo, renamingFrom].filter((each) => each !== undefined);
}

function readable<T>(read: () => T): T | UnreadableRecordError {
  try {
    return read();
  } catch (error) {
    if (error instanceof UnreadableRecordError) return error;
    throw error;
  }
}
