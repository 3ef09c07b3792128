// The embedded store used by several real processes that are killed or stopped; real time.
import { expect, test } from '@jest/globals';
import { embeddedStore } from '../../../../lib/lock/stores/embedded/store.ts';
import { embeddedDirectory } from '../../bench/embedded-directory.ts';
import { clientOf } from '../../bench/store-bench.ts';
import { StoreProcess } from '../../store/process.ts';
import { storeProcessContract } from '../../store/process-contract.ts';

storeProcessContract('embedded', embeddedDirectory);

test('the embedded store keeps the locks of a killed process whose session is resumable, for its successor', async () => {
  await using directory = await embeddedDirectory();
  await using daemon = await StoreProcess.start('embedded', directory.path);
  await daemon.run({ name: 'hold', lock: 'db', resumable: true });
  await using store = await embeddedStore(directory);
  const [ticket] = await store.tickets('db');
  const resume = { ttlMs: 1, owner: 'daemon', resumable: true, resume: ticket?.session ?? '' };
  expect(await store.sessionAlive(resume.resume)).toBe(true);
  await expect(store.openSession(resume)).rejects.toThrow(`process ${daemon.pid}`);

  await daemon.kill();
  expect(await store.sessionAlive(resume.resume)).toBe(false);
  const other = await clientOf(store, 'n1');
  expect(await other.tryEnqueue('db')).toEqual({ state: 'refused', blockers: [ticket] });
  expect(await store.openSession(resume)).toMatchObject({ id: resume.resume, resumed: true });
  expect(await store.sessionAlive(resume.resume)).toBe(true);
  expect(await store.tickets('db')).toEqual([ticket]);
  await store.closeSession(resume.resume);
  expect(await other.tryEnqueue('db')).toMatchObject({ state: 'granted' });
});

test("the embedded store gives a killed daemon's session to the owner's next process that lost the id", async () => {
  await using directory = await embeddedDirectory();
  await using daemon = await StoreProcess.start('embedded', directory.path);
  await daemon.run({ name: 'hold', lock: 'db', resumable: true });
  await using store = await embeddedStore(directory);
  const [ticket] = await store.tickets('db');
  const successor = { ttlMs: 1, owner: 'worker', resumable: true };
  expect(await store.openSession(successor)).toMatchObject({ resumed: false });

  await daemon.kill();
  expect(await store.openSession({ ...successor, owner: 'another' })).toMatchObject({
    resumed: false,
  });
  expect(await store.openSession({ ...successor, resumable: false })).toMatchObject({
    resumed: false,
  });
  expect(await store.openSession(successor)).toMatchObject({ id: ticket?.session, resumed: true });
  expect(await store.tickets('db')).toEqual([ticket]);
});
