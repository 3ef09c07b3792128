// The embedded store used by several real processes that are killed or stopped; real time.
import { expect, test } from '@jest/globals';
import { GuardLostError, SessionGoneError } from '../../../../lib/lock/errors.ts';
import { embeddedStore } from '../../../../lib/lock/stores/embedded/store.ts';
import { describeWith } from '../../../support/requirements.ts';
import { embeddedDirectory } from '../../bench/embedded-directory.ts';
import { Client, clientOf } from '../../bench/store-bench.ts';
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

describeWith(['root'], 'the embedded store across PID namespaces', () => {
  const separate = ['--mount-proc', '--propagation', 'slave'];
  const container = ['unshare', '--pid', '--fork', '--kill-child', ...separate];

  test('a process whose session is resumed where it can not be seen changes nothing of its heir', async () => {
    await using directory = await embeddedDirectory();
    await using store = await embeddedStore(directory);
    await using other = await embeddedStore(directory);
    const { id } = await store.openSession({ ttlMs: 1, owner: 'worker', resumable: true });
    const before = new Client('n1', store, id);
    const held = await before.hold('db');
    const asked = before.request('late');
    const blocker = await (await clientOf(other, 'n2')).hold('queue');
    const waiting = await before.queue('queue');

    await using heir = await StoreProcess.start('embedded', directory.path, container);
    await heir.run({ name: 'hold', lock: 'own', resumable: true, resume: id });
    const standing = await other.tickets();
    const [own] = await other.tickets('own');
    expect(own).toMatchObject({ session: id });
    if (!own) throw new Error('the heir holds nothing');

    await expect(store.renewSession(id)).rejects.toThrow(SessionGoneError);
    await expect(before.enqueue('new')).rejects.toThrow(SessionGoneError);
    await expect(before.tryEnqueue('new')).rejects.toThrow(SessionGoneError);
    expect(await store.stands(held)).toBe(false);
    await expect(before.write(held, 'k', 'late')).rejects.toThrow(GuardLostError);
    const release = { guards: [], writes: [], release: [own] };
    await expect(store.commit(release)).rejects.toThrow(GuardLostError);
    await other.remove(blocker);
    expect(await store.place(waiting)).toEqual({ state: 'gone' });
    for (const ticket of [held, own, waiting, asked]) await store.remove(ticket, 'k');
    await store.closeSession(id);
    expect(await other.tickets()).toEqual(standing.filter(({ nonce }) => nonce !== blocker.nonce));
    expect(await other.record('k')).toBeUndefined();
  });
});
