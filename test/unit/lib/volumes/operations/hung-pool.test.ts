// What Creates do in a pool that hangs: how many of them are in it, and what the others say. A memory store, a driver
// whose calls the test ends, and a clock of the test.
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { lookingForMark } from '../../../../../lib/volumes/drivers/looking-for-mark.ts';
import { UnavailableError } from '../../../../../lib/volumes/errors.ts';
import { eventually } from '../../../../support/eventually.ts';
import type { HostVolumes } from '../../../../support/host-volumes.ts';
import { hostVolumes } from '../../../../support/host-volumes.ts';

const context = { signal: new AbortController().signal };

let host: HostVolumes;
/** The calls of the driver that have begun since the pool hangs. */
let begun: { creates: number; looks: number };
let answers: PromiseWithResolvers<void>;

beforeEach(async () => {
  host = await hostVolumes();
  begun = { creates: 0, looks: 0 };
  answers = Promise.withResolvers<void>();
  answers.promise.catch(() => {});
  const { driver, drivers } = host;
  const create: typeof driver.create = async (volume, during) => {
    begun.creates += 1;
    await answers.promise;
    return await driver.create(volume, during);
  };
  const look = async () => {
    begun.looks += 1;
    await answers.promise;
    return await driver.pool.look();
  };
  drivers.set(driver.name, { ...driver, create, pool: { ...driver.pool, look } });
  answers.resolve();
  await host.volumes.create({ name: 'first', options: {} }, context);
});

afterEach(() => host[Symbol.asyncDispose]());

function hang(): void {
  begun = { creates: 0, looks: 0 };
  answers = Promise.withResolvers<void>();
  answers.promise.catch(() => {});
}

const create = (name: string) => host.volumes.create({ name, options: {} }, context);

test('of many Creates in a pool that has just begun to hang, four are in it, and the others share a look', async () => {
  hang();
  const creating = Array.from({ length: 20 }, (_, index) => create(`v${index}`));
  await eventually(() => expect(begun).toEqual({ creates: 4, looks: 1 }));
  answers.resolve();
  await Promise.all(creating);
  expect(begun.creates).toBe(20);
});

test('a Create in a pool that has not answered for a second looks first, and begins nothing if that fails', async () => {
  hang();
  const one = create('one');
  await eventually(() => expect(begun.creates).toBe(1));
  host.clock.advance(1_000);
  const two = create('two');
  await eventually(() => expect(begun).toEqual({ creates: 1, looks: 1 }));
  const ends = Promise.allSettled([one, two]);
  answers.reject(new Error('Stale file handle'));
  await ends;
  await expect(two).rejects.toThrow(/can't be read \(Stale file handle\)/);
  await expect(one).rejects.toThrow('Stale file handle');
  // The last look has failed, so the next Create looks, too.
  await expect(create('three')).rejects.toThrow(UnavailableError);
  expect(begun.creates).toBe(1);
});

test('a Create whose own look at the pool fails says what is wrong with the pool', async () => {
  const { drivers } = host;
  const driver = drivers.get('directory') ?? host.driver;
  const { create: createLooking } = lookingForMark(driver);
  drivers.set(driver.name, { ...host.driver, pool: driver.pool, create: createLooking });
  hang();
  answers.reject(new Error('Input/output error'));
  const db = create('db');
  await expect(db).rejects.toThrow(UnavailableError);
  await expect(db).rejects.toThrow(/can't be read \(Input\/output error\)/);
});
