import { UnreadableRecordError } from '../stored-text.ts';
import type { VolumeRecord } from '../volume.ts';
import type { RememberedVolumes } from './catalog.ts';
import { isRecordKey, readRecord, recordKey } from './catalog.ts';
import type { RememberedRecord } from './remembered-text.ts';

/** Shows the volumes among remembered records; an earlier map hides a later one. Leaves out what this release can't use. */
export function rememberedVolumes(
  maps: readonly ReadonlyMap<string, RememberedRecord>[],
): RememberedVolumes {
  const parsed = new WeakMap<RememberedRecord, { readonly volume: VolumeRecord | undefined }>();
  const volumeIn = (remembered: RememberedRecord) => {
    const known = parsed.get(remembered) ?? { volume: readable(remembered) };
    parsed.set(remembered, known);
    return known.volume;
  };
  const find = (key: string) => {
    for (const map of maps) {
      const found = map.get(key);
      if (found) return found;
    }
    return undefined;
  };
  return {
    has: (name) => find(recordKey(name)) !== undefined,
    get: (name) => {
      const found = find(recordKey(name));
      return found && volumeIn(found);
    },
    list: () => {
      const keys = new Set(maps.flatMap((map) => [...map.keys()]).filter(isRecordKey));
      return [...keys].flatMap((key) => {
        const found = find(key);
        return (found && volumeIn(found)) ?? [];
      });
    },
  };
}

/** Undefined: it only keeps a name during a rename, or this release can't use it. */
function readable(remembered: RememberedRecord): VolumeRecord | undefined {
  try {
    const { record } = readRecord(remembered);
    return record.renamingFrom === undefined ? record : undefined;
  } catch (error) {
    if (error instanceof UnreadableRecordError) return undefined;
    throw error;
  }
}
