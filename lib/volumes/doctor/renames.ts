import { LockContendedError, LockDisabledError } from '../../lock/errors.ts';
import type { Lock } from '../../lock/lock.ts';
import type { LockService } from '../../lock/use/lock-service.ts';
import type { VolumeDriver } from '../drivers/driver.ts';
import { disabledBy, translated } from '../operations/lock-refusals.ts';
import { locks as lockTable } from '../operations/lock-table.ts';
import { renameCommand } from '../operations/rename-refusals.ts';
import type { Volumes } from '../operations/volumes.ts';
import type { Pools } from '../pools/pools.ts';
import type { Catalog } from '../records/catalog.ts';
import { recordKey } from '../records/catalog.ts';
import { isStoredOn } from '../stored-on.ts';
import type { VolumeRecord } from '../volume.ts';
import type { Finding, Outcome, Treatment } from './finding.ts';
import { found, mended } from './finding.ts';
import { orSilent } from './silent.ts';

export interface RenameDoctorOptions {
  readonly catalog: Pick<Catalog, 'list' | 'entry'>;
  readonly drivers: ReadonlyMap<string, VolumeDriver>;
  readonly pools: Pick<Pools, 'trouble'>;
  readonly locks: LockService;
  readonly volumes: Pick<Volumes, 'renames'>;
  /** The name of this host. */
  readonly host: string;
}

/** A volume whose rename has begun. */
interface Renaming {
  readonly name: string;
  readonly to: string;
  readonly driver: VolumeDriver;
}

/** Finds the renames that a crash has interrupted, and completes them. */
export class RenameDoctor {
  readonly #options: RenameDoctorOptions;

  constructor(options: RenameDoctorOptions) {
    this.#options = options;
  }

  async examine(treatment: Treatment): Promise<Outcome[]> {
    const { catalog } = this.#options;
    const outcomes: Outcome[] = [];
    for (const renaming of catalog.list().flatMap((record) => this.#renaming(record) ?? [])) {
      const look = async () => (await this.#examineOne(renaming, treatment)) ?? [];
      outcomes.push(...(await orSilent(renaming.name, look)));
    }
    return outcomes;
  }

  #renaming(record: VolumeRecord): Renaming | undefined {
    const { drivers, host } = this.#options;
    const { name, renamingTo: to } = record;
    const driver = drivers.get(record.driver);
    if (to === undefined || !driver || !isStoredOn(host, record, driver)) return undefined;
    return { name, to, driver };
  }

  /** Undefined: somebody works on the volume, or it is not this host's. */
  async #examineOne(renaming: Renaming, treatment: Treatment): Promise<Outcome[] | undefined> {
    const { name, to, driver } = renaming;
    // The doctor of the host that has the storage completes it.
    if (await this.#options.pools.trouble(driver)) return undefined;
    const { storage } = driver;
    if (!(await storage.find(name)) && !(await storage.find(to))) return undefined;
    const finding = interruptedRename(renaming);
    const { signal } = treatment;
    if (!treatment.fix) return this.#whileIdle(renaming, signal, async () => [found(finding)]);
    const mend = (lock: Lock) =>
      mended(finding, () => this.#options.volumes.renames.rename(name, to, lock, { signal }));
    return this.#whileIdle(renaming, signal, async (lock) => [await mend(lock)]);
  }

  /** Runs `work` under the locks of both names if nobody works on them, and the rename is still begun. */
  async #whileIdle(
    { name, to, driver }: Renaming,
    signal: AbortSignal,
    work: (lock: Lock) => Promise<Outcome[]>,
  ): Promise<Outcome[] | undefined> {
    const { locks, catalog } = this.#options;
    const options = { signal, timeoutMs: 0, detail: 'doctor', read: recordKey(name) };
    try {
      return await locks.executeWithMultiUseLock(
        lockTable.rename(name, to),
        options,
        async (lock) =>
          catalog.entry(lock.read?.record)?.record.renamingTo === to ? await work(lock) : undefined,
      );
    } catch (error) {
      if (error instanceof LockContendedError) return undefined;
      if (error instanceof LockDisabledError) {
        const { message } = disabledBy(error.gates, error);
        const { fix: _, ...finding } = interruptedRename({ name, to, driver });
        return [found({ ...finding, next: [...finding.next, message] })];
      }
      return await translated(name, () => Promise.reject(error));
    }
  }
}

function interruptedRename({ name, to }: Renaming): Finding {
  return {
    kind: 'interrupted-rename',
    what: name,
    message: `is being renamed to ${to}, and that was interrupted`,
    fix: 'completes the rename',
    next: [`complete it: ${renameCommand(name, to)}`],
  };
}
