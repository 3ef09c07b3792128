import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { childPath } from '../shared/child-path.ts';
import { isFresh } from '../shared/fresh-copy.ts';
import { lookFresh } from '../shared/fresh-names.ts';
import { exists, isEmpty } from '../shared/storage-files.ts';
import { abandonedIn, sweep } from '../shared/temporary.ts';
import type { DriverStorage } from '../stored-volume.ts';
import { visibleNames } from '../stored-volume.ts';

/** Lists what the directory driver stores; driver.ts draws its layout. */
export function directoryStorage(base: string): DriverStorage {
  return {
    names: () => visibleNames(base),

    async find(name) {
      const home = childPath(base, name);
      if (!(await lookFresh([base], () => exists(home)))) return undefined;
      return {
        name,
        options: {},
        content: await contentOf(join(home, 'data')),
        isTorn: await exists(join(home, 'data.old')),
        snapshots: await visibleNames(join(home, 'snapshots')),
        changedAt: (await stat(home)).mtime.toISOString(),
        isFreshCopy: await isFresh(home),
      };
    },

    leftovers: () => abandonedIn(base),
    sweep: () => sweep(base),
  };
}

async function contentOf(data: string): Promise<'missing' | 'empty' | 'some'> {
  if (!(await exists(data))) return 'missing';
  return (await isEmpty(data)) ? 'empty' : 'some';
}
