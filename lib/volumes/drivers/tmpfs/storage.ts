import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { readIfThere, replaceFile } from '../../../linux/state-file.ts';
import { optionsOfCopies } from '../driver-option.ts';
import { childPath } from '../shared/child-path.ts';
import { exists, isEmpty } from '../shared/storage-files.ts';
import { abandonedIn, sweep } from '../shared/temporary.ts';
import type { DriverStorage } from '../stored-volume.ts';
import { visibleNames } from '../stored-volume.ts';
import { tmpfsOptions } from './options.ts';

const optionsName = 'options.json';
const optionsSchema = z.record(z.string(), z.string());

/** Lists the volumes that this host made, also those that are not in memory since it started. */
export function tmpfsStorage(base: string): DriverStorage {
  return {
    names: () => visibleNames(base),

    async find(name) {
      const home = childPath(base, name);
      if (!(await exists(home))) return undefined;
      return {
        name,
        options: await readOptions(home),
        content: (await holdsNothing(join(home, 'data'))) ? 'empty' : 'some',
        isTorn: false,
        snapshots: [],
        changedAt: (await stat(home)).mtime.toISOString(),
        isFreshCopy: false,
      };
    },

    leftovers: () => abandonedIn(base),
    sweep: () => sweep(base),
  };
}

/** Reads the options that content without a record can be adopted with. */
async function readOptions(home: string): Promise<Record<string, string>> {
  const text = await readFile(join(home, optionsName), 'utf8');
  return optionsOfCopies(tmpfsOptions, optionsSchema.parse(JSON.parse(text)));
}

/** Writes a volume's options into its new directory, durably. */
export async function writeOptions(home: string, options: Options): Promise<void> {
  await writeFile(join(home, optionsName), textOf(options), { mode: 0o600, flush: true });
}

/** Replaces a volume's options, in one step and durably, if they differ. */
export async function rememberOptions(home: string, options: Options): Promise<void> {
  const path = join(home, optionsName);
  if ((await readIfThere(path, { trim: false })) === textOf(options)) return;
  await replaceFile(path, textOf(options));
}

type Options = Readonly<Record<string, string>>;

function textOf(options: Options): string {
  return `${JSON.stringify(options)}\n`;
}

/** Returns true if a volume holds nothing; one that is not in memory holds nothing. */
export async function holdsNothing(data: string): Promise<boolean> {
  return !(await exists(data)) || (await isEmpty(data));
}
