// Runs one long operation of a driver in a process of its own, which the test kills.
import { drivers } from '../../../lib/volumes/drivers/registry.ts';

const [driverName = '', volumeDir = '', operation = '', volumeText = '', mountpoint] =
  process.argv.slice(2);
const driver = (await drivers({ volumeDir })).get(driverName);
if (driver === undefined) throw new Error(`there is no driver ${driverName}`);
const context = { signal: new AbortController().signal };
const volume = JSON.parse(volumeText);
const source = { volume, snapshot: 'monday' };

if (operation === 'snapshot') {
  await driver.snapshot({ volume, snapshot: 'tuesday', mountpoint }, context);
} else if (operation === 'restore') {
  await driver.restore(source, context);
} else if (operation === 'abandon') {
  await driver.abandon(volume, mountpoint ?? '', context);
} else {
  await driver.clone(source, { ...volume, name: 'copy' }, context);
}
