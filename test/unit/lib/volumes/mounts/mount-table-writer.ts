import { systemClock } from '../../../../../lib/running/clock.ts';
import { MountTable } from '../../../../../lib/volumes/mounts/mount-table.ts';
import { mountRow } from '../../../../support/mount-row.ts';

/*
 * Adds and deletes rows of the table at the given path until it is killed, and reports each change
 * when the table says that it is on disk.
 */

const [path = ''] = process.argv.slice(2);
const table = await MountTable.open(path, systemClock());

for (let number = 1; ; number++) {
  await table.put(mountRow(`v${number}`));
  process.stdout.write(`put v${number}\n`);
  if (number === 1) continue;
  await table.delete(`v${number - 1}`);
  process.stdout.write(`deleted v${number - 1}\n`);
}
