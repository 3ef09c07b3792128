import { afterAll, afterEach, beforeAll, beforeEach, describe } from '@jest/globals';
import type { FileSystem } from '../../support/loop-fs.ts';
import { describeWith } from '../../support/requirements.ts';
import type { DriverFixture } from '../bench/driver-bench.ts';
import { capabilitiesOf, DriverBench, hasTrash } from '../bench/driver-bench.ts';
import { copyContract, noCopyContract, sharedBlocksContract } from './copy-contract.ts';
import { interruptionContract } from './interruption-contract.ts';
import { mountContract } from './mount-contract.ts';
import { optionContract } from './option-contract.ts';
import { renameContract } from './rename-contract.ts';
import { storageContract } from './storage-contract.ts';
import { noTrashContract, trashContract } from './trash-contract.ts';

/** The contract of the port `VolumeDriver`: each sentence of it, on a real file system. */
export function volumeDriverContract(
  name: string,
  fixture: DriverFixture,
  more?: (bench: () => DriverBench) => void,
): void {
  withDriverBench(name, fixture, (bench) => {
    describe('mounts', () => mountContract(bench));
    describe('storage', () => storageContract(bench, fixture));
    describe('the trash', () => (hasTrash(fixture) ? trashContract : noTrashContract)(bench));
    if (fixture.pool === 'ext4') describe('names', () => renameContract(bench, fixture));
    if (fixture.pool === 'ext4') describe('options', () => optionContract(bench, fixture));
    if (capabilitiesOf(fixture).copies) {
      describe('copies', () => copyContract(bench));
      if (fixture.pool === 'ext4') describe('interruptions', () => interruptionContract(bench));
      else describe('shared blocks', () => sharedBlocksContract(bench));
    } else {
      describe('copies', () => noCopyContract(bench));
    }
    if (more !== undefined) describe('this driver', () => more(bench));
  });
}

/** Runs tests with a new bench each, on a file system that they share. */
function withDriverBench(
  name: string,
  fixture: DriverFixture,
  tests: (bench: () => DriverBench) => void,
): void {
  describeWith(['root', 'loop'], `${name} on ${fixture.pool}`, () => {
    let pool: FileSystem | undefined;
    let bench: DriverBench | undefined;

    beforeAll(async () => {
      pool = await DriverBench.makePool(fixture.pool);
    });
    afterAll(async () => {
      await pool?.dispose();
    });
    beforeEach(async () => {
      if (pool !== undefined) bench = await DriverBench.open(fixture, pool);
    });
    afterEach(async () => {
      await bench?.[Symbol.asyncDispose]();
      bench = undefined;
    });

    tests(() => {
      if (bench === undefined) throw new Error('there is a bench only while a test runs');
      return bench;
    });
  });
}
