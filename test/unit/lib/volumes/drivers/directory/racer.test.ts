// The directory driver beside a user of the volume that exchanges directories, files and links: the real
// driver and programs on this machine's file system; real time. Needs root.
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { directoryDriver } from '../../../../../../lib/volumes/drivers/directory/driver.ts';
import type { DriverContext } from '../../../../../../lib/volumes/drivers/driver.ts';
import { makeOutside, startRacer } from '../../../../../support/racer.ts';
import { describeWith } from '../../../../../support/requirements.ts';
import { makeTemporaryDirectory } from '../../../../../support/temporary-directory.ts';

const context: DriverContext = { signal: new AbortController().signal };
/** More in the soak. */
const rounds = Math.ceil(Number(process.env.BERTH_SOAK_COPIES ?? 4) / 4);

describeWith(['root'], 'a volume whose user exchanges directories, files and links', () => {
  test('A1: nothing from outside is in its snapshots and copies, and nothing outside is deleted with it', async () => {
    await using directory = await makeTemporaryDirectory();
    const volumeDir = join(directory.path, 'volumes');
    const pool = join(volumeDir, 'directory');
    const reports: string[] = [];
    const report = (volume: string, message: string) => reports.push(`${volume}: ${message}`);
    const driver = directoryDriver({ volumeDir, report });
    const [volume, copy] = ['raced', 'copy'].map((name) => ({ name, options: {} })) as [
      Named,
      Named,
    ];
    await driver.create(volume, context);
    const outside = await makeOutside(join(directory.path, 'outside'));
    await using _racer = await startRacer(join(pool, 'raced/data'), outside);
    const target = { volume, snapshot: 's' };
    for (let round = 0; round < rounds; round++) {
      await driver.snapshot(target, context);
      await driver.clone({ volume }, copy, context);
      expect(await outside.stolen(pool)).toEqual([]);
      await driver.clone(target, copy, context);
      await driver.remove(copy, context);
    }
    await driver.restore(target, context); // The racer goes on in what the restore deletes.
    expect(await outside.stolen(pool)).toEqual([]);
    await driver.remove(volume, context);
    await driver.storage.sweep();
    await outside.requireUntouched();
  });
});

type Named = { readonly name: string; readonly options: Readonly<Record<string, string>> };
