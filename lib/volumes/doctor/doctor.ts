import type { StoreMirror } from '../../lock/engine/store-mirror.ts';
import { NotFoundError, UnavailableError } from '../errors.ts';
import type { LostRecords } from '../records/lost-records.ts';
import type { FindingKind, Outcome, Treatment } from './finding.ts';
import { found } from './finding.ts';
import type { HeldDoctorOptions } from './held.ts';
import { HeldDoctor } from './held.ts';
import type { LostDoctorOptions } from './lost-records.ts';
import { LostDoctor } from './lost-records.ts';
import type { MountDoctorOptions } from './mounts.ts';
import { MountDoctor } from './mounts.ts';
import type { RenameDoctorOptions } from './renames.ts';
import { RenameDoctor } from './renames.ts';
import type { StorageDoctorOptions } from './storage.ts';
import { StorageDoctor } from './storage.ts';
import type { TrashDoctorOptions } from './trash.ts';
import { TrashDoctor } from './trash.ts';
import type { UncleanEndDoctorOptions } from './unclean-ends.ts';
import { UncleanEndDoctor } from './unclean-ends.ts';
import { unreadableFinding, unreadableRecords } from './unreadable-records.ts';

export type DoctorOptions = MountDoctorOptions &
  HeldDoctorOptions &
  StorageDoctorOptions &
  RenameDoctorOptions &
  TrashDoctorOptions &
  UncleanEndDoctorOptions &
  LostDoctorOptions & {
    readonly lost: Pick<LostRecords, 'clusterTrouble'>;
    /** While it is not live, its records and tickets may be out of date. */
    readonly mirror: Pick<StoreMirror, 'isLive' | 'records'>;
  };

/** Finds what interrupted work has left on this host, and fixes it on request. */
export interface Doctor {
  /**
   * Examines everything that this host sees. It leaves out volumes with work in progress, and never
   * touches another host's. Rejects UnavailableError while the store is away, and NotFoundError when
   * a name to delete is not the name of storage without a record.
   */
  examine(treatment: Treatment): Promise<Outcome[]>;
  /** Puts what the store has lost back from what this host remembers (`LostDoctor.restore`). */
  restoreRecords(): Promise<Outcome[]>;
  /** Goes on without what the store has lost (`LostDoctor.forget`). */
  forgetRecords(): Promise<Outcome[]>;
}

export function doctor(options: DoctorOptions): Doctor {
  const mounts = new MountDoctor(options);
  const storage = new StorageDoctor(options);
  const renames = new RenameDoctor(options);
  const trash = new TrashDoctor(options);
  const held = new HeldDoctor(options);
  const uncleanEnds = new UncleanEndDoctor(options);
  const lost = new LostDoctor(options);
  return {
    restoreRecords: () => lost.restore(),
    forgetRecords: () => lost.forget(),
    examine: async (treatment) => {
      if (!options.mirror.isLive) {
        throw new UnavailableError(
          "the store can't be reached, so nothing can be compared with it",
        );
      }
      const missing = await lost.examine();
      if (options.lost.isWiped) {
        // To a store without records, all storage looks like what nobody needs.
        const isOnlyLook = treatment.deletions.size === 0 && missing.length > 0;
        if (!isOnlyLook) throw new UnavailableError(options.lost.clusterTrouble() ?? '');
        return missing;
      }
      if (treatment.deletions.size > 0) {
        const asked = { ...treatment, ...nothing };
        const orphans = [...(await storage.examine(asked)), ...(await trash.examine(asked))];
        requireOrphans(treatment.deletions, orphans);
      }
      // A stray mount keeps its storage from being fixed, so mounts go first.
      const mounted = await mounts.examine(treatment);
      // What returns from the trash is storage with a record again.
      const kept = await trash.examine(treatment);
      const renamed = await renames.examine(treatment);
      const stored = await storage.examine(treatment);
      const unclean = await uncleanEnds.examine(treatment);
      const unreadable = unreadableRecords(options).map(unreadableFinding).map(found);
      const first = [
        ...missing,
        ...mounted,
        ...kept,
        ...renamed,
        ...stored,
        ...unclean,
        ...unreadable,
      ];
      return [...first, ...(await held.examine(treatment))];
    },
  };
}

const nothing = { fix: false, deletions: new Set<string>() };

/** A mistyped name must not look as if it had been deleted. */
function requireOrphans(names: ReadonlySet<string>, outcomes: readonly Outcome[]): void {
  const orphans = outcomes.filter(({ kind }) => deletable.has(kind)).map(({ what }) => what);
  const unknown = [...names].filter((name) => !orphans.includes(name));
  if (unknown.length === 0) return;
  throw new NotFoundError(
    `there is no storage without a record called ${unknown.join(', ')}; nothing was changed; ` +
      `there is: ${orphans.join(', ') || 'none'}`,
  );
}

const deletable = new Set<FindingKind>([
  'storage-without-record',
  'snapshot-without-record',
  'trash-without-record',
]);
