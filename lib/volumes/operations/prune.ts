import type { Clock } from '../../running/clock.ts';
import { InUseError, VolumeError } from '../errors.ts';
import type { LastUse } from '../last-use.ts';
import type { LastUses } from '../records/last-uses.ts';
import type { CallContext, VolumeService, VolumeView } from '../service.ts';
import type { VolumeRecord } from '../volume.ts';

export interface PruneOptions {
  readonly volumes: Pick<VolumeService, 'list' | 'remove'>;
  readonly lastUses: Pick<LastUses, 'read'>;
  readonly clock: Pick<Clock, 'date'>;
}

/** A volume that was not used for the time that a person gave. */
export interface UnusedVolume {
  readonly name: string;
  readonly driver: string;
  /** RFC 3339: the end of its last use, or the time of its creation if nobody has used it. */
  readonly unusedSince: string;
  /** The reason why it is not removed all the same; absent: it may be. */
  readonly kept?: string;
}

export interface PruneResult {
  /** The unused volumes, unused for the longest time first. */
  readonly unused: readonly UnusedVolume[];
  /** The names of those that were removed. */
  readonly removed: readonly string[];
}

/**
 * Removes volumes that nobody has used for long: each by a Remove as any other, under its locks, where the
 * time of its last use is asked for again. Never one that is mounted, protected or disabled, or of which it is
 * not known when it was used last.
 */
export class Prune {
  readonly #options: PruneOptions;

  constructor(options: PruneOptions) {
    this.#options = options;
  }

  /** Lists the volumes that were not used for so long. Removes nothing. */
  unused(unusedForMs: number): UnusedVolume[] {
    const before = this.#before(unusedForMs);
    return this.#options.volumes
      .list()
      .flatMap((view) => unusedVolume(view, before) ?? [])
      .sort((a, b) => (a.unusedSince < b.unusedSince ? -1 : 1));
  }

  /** Removes those that may be removed. What keeps one of them is said of it, and stops no other. */
  async remove(unusedForMs: number, context: CallContext): Promise<PruneResult> {
    const unused: UnusedVolume[] = [];
    const removed: string[] = [];
    for (const volume of this.unused(unusedForMs)) {
      const kept = volume.kept ?? (await this.#keptBy(volume, unusedForMs, context));
      unused.push({ ...volume, ...(kept !== undefined && { kept }) });
      if (kept === undefined) removed.push(volume.name);
    }
    return { unused, removed };
  }

  /** Removes one; returns why it was not. */
  async #keptBy(
    { name }: UnusedVolume,
    unusedForMs: number,
    context: CallContext,
  ): Promise<string | undefined> {
    const before = this.#before(unusedForMs);
    const check = async (record: VolumeRecord) => {
      const since = sinceOf(await this.#options.lastUses.read(record));
      if (since === undefined || Date.parse(since) > before) {
        throw new InUseError(`volume ${name} was used meanwhile`);
      }
    };
    try {
      await this.#options.volumes.remove(name, { ...context, check });
      return undefined;
    } catch (error) {
      if (error instanceof VolumeError && !context.signal.aborted) return error.message;
      throw error;
    }
  }

  #before(unusedForMs: number): number {
    return this.#options.clock.date().getTime() - unusedForMs;
  }
}

/** Undefined: it is used, or was used since, or that is not known. */
function unusedVolume({ record, lastUse, gates }: VolumeView, before: number) {
  if (lastUse.is === 'now') return undefined;
  const unusedSince = sinceOf(lastUse);
  if (unusedSince === undefined || !(Date.parse(unusedSince) <= before)) return undefined;
  const { name, driver, protect, renamingTo } = record;
  const [gate] = gates;
  const kept =
    (protect && 'it is protected') ||
    (gate && `it is disabled by host ${gate.host}`) ||
    (renamingTo !== undefined && `it is being renamed to ${renamingTo}`);
  return { name, driver, unusedSince, ...(kept && { kept }) };
}

function sinceOf(lastUse: LastUse): string | undefined {
  if (lastUse.is === 'unknown') return undefined;
  return lastUse.is === 'ended' ? lastUse.at : lastUse.since;
}
