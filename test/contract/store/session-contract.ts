import { expect, test } from '@jest/globals';
import {
  GuardLostError,
  LockUnsupportedError,
  SessionGoneError,
} from '../../../lib/lock/errors.ts';
import type { SessionRequest, TicketStore } from '../../../lib/lock/stores/ticket-store.ts';
import type { BenchOf } from '../bench/store-bench.ts';
import {
  Client,
  clientOf,
  enabled,
  eventually,
  longTtlMs,
  neverExpires,
  shared,
  shortTtlMs,
} from '../bench/store-bench.ts';
import { StoreMirror } from '../bench/store-mirror.ts';

/** Checks sessions: opening, resuming, closing and expiry. */
export function sessionContract(benchOf: BenchOf): void {
  test('opens sessions with different ids and at least the requested TTL', async () => {
    const [{ store }] = benchOf().clients;
    const { sessionsResume: resumable } = store.properties;
    const request = { ttlMs: longTtlMs, owner: 'n1', resumable };
    const sessions = [await store.openSession(request), await store.openSession(request)];
    expect(sessions[0]?.id).not.toBe(sessions[1]?.id);
    for (const { id, ttlMs, resumed } of sessions) {
      expect(resumed).toBe(false);
      expect(ttlMs).toBeGreaterThanOrEqual(longTtlMs);
      expect(ttlMs === Number.POSITIVE_INFINITY).toBe(!store.properties.sessionsExpire);
      expect((await store.renewSession(id)).ttlMs).toBe(ttlMs);
      expect(await store.sessionAlive(id)).toBe(true);
      await store.closeSession(id);
      expect(await store.sessionAlive(id)).toBe(false);
    }
  });

  test('removes all tickets of a closed session and none of another', async () => {
    const [n1, n2, n3] = benchOf().clients;
    await n1.hold('a');
    await n1.hold('b');
    const kept = await n3.hold('c');
    const waiting = await n2.queue('a', 'b');
    await n1.queue('c');
    await n1.store.closeSession(n1.session);
    expect(await n2.store.tickets()).toEqual([waiting, kept].sort((a, b) => a.token - b.token));
    expect(await n2.store.place(waiting)).toMatchObject({ state: 'granted' });
  });

  test('resolves when it closes a session that does not exist', async () => {
    const [n1] = benchOf().clients;
    await n1.store.closeSession(n1.session);
    await n1.store.closeSession(n1.session);
  });

  test('S62 S68 says that the tickets of a closed session are gone, so they are never granted', async () => {
    const [n1, n2] = benchOf().clients;
    const held = await n1.hold('db');
    const waiting = await n2.queue('db');
    await n2.store.closeSession(n2.session);
    await n1.store.remove(held);
    expect(await n2.store.place(waiting)).toEqual({ state: 'gone' });
  });

  test('writes nothing for a session that has ended', async () => {
    const [n1, n2] = benchOf().clients;
    await n1.store.closeSession(n1.session);
    await expect(n1.enqueue('db')).rejects.toThrow(SessionGoneError);
    await expect(n1.tryEnqueue('db')).rejects.toThrow(SessionGoneError);
    await expect(n1.store.renewSession(n1.session)).rejects.toThrow(SessionGoneError);
    expect(await n2.store.tickets()).toEqual([]);
  });

  test('refuses a repeated request once its session has ended', async () => {
    const [n1] = benchOf().clients;
    const request = n1.request('db');
    await n1.store.enqueue(request);
    await n1.store.closeSession(n1.session);
    await expect(n1.store.enqueue(request)).rejects.toThrow(SessionGoneError);
    await n1.store.remove(request);
    expect(await n1.store.tickets()).toEqual([]);
  });

  test('resumes a session, with its tickets', async () => {
    const [n1, n2] = benchOf().clients;
    const ticket = await n1.hold('db');
    const resume = { ttlMs: longTtlMs, owner: 'n1', resumable: true, resume: n1.session };
    if (await refusesToResume(n2.store, resume)) return;
    const session = await n2.store.openSession(resume);
    expect(session).toMatchObject({ id: n1.session, resumed: true });
    expect(await n2.store.tickets()).toEqual([ticket]);
    expect(await n2.store.place(ticket)).toMatchObject({ state: 'granted' });
  });

  test.each([
    ['a session', longTtlMs],
    ['the permanent session', Number.POSITIVE_INFINITY],
  ])(
    'lock-library F2: a client whose heir has resumed %s finds it gone, and changes nothing of it',
    async (_, ttlMs) => {
      const { fixture, clients } = benchOf();
      const [{ store: other }] = clients;
      if (!other.properties.sessionsResume) return;
      if (!other.properties.sessionsExpire) return; // One process has one session there.
      await using before = await fixture.connect();
      await using after = await fixture.connect();
      const opening = { ttlMs, owner: 'n4', resumable: true };
      const { id } = await before.openSession(opening);
      const n4 = new Client('n4', before, id);
      const held = await n4.hold('db');
      const many = await n4.hold(...Array.from({ length: 64 }, (__, index) => `many-${index}`));
      const asked = n4.request('late');
      const blocker = await clients[0].hold('queue');
      const waiting = await n4.queue('queue');

      const heir = await after.openSession({ ...opening, resume: id });
      expect(heir).toMatchObject({ id, resumed: true });
      const own = await new Client('n4', after, id).hold('own');
      // The heir keeps two of the locks, writes a record, and does not know the third.
      await after.commit({ guards: [held], writes: [{ key: 'k', value: 'heir' }], release: [] });
      const standing = await other.tickets();

      if (ttlMs !== Number.POSITIVE_INFINITY) {
        await expect(before.renewSession(id)).rejects.toThrow(SessionGoneError);
      }
      await expect(n4.enqueue('new')).rejects.toThrow(SessionGoneError);
      await expect(n4.tryEnqueue('new')).rejects.toThrow(SessionGoneError);
      const names = Array.from({ length: 64 }, (__, index) => `more-${index}`);
      await expect(n4.enqueue(...names)).rejects.toThrow(SessionGoneError);
      expect(await before.place(waiting)).toEqual({ state: 'gone' });
      expect(await before.place(held)).toEqual({ state: 'gone' });
      expect(await before.stands(held)).toBe(false);
      await expect(n4.write(held, 'k', 'late')).rejects.toThrow(GuardLostError);
      const release = { guards: [], writes: [], release: [own] };
      await expect(before.commit(release)).rejects.toThrow(GuardLostError);
      for (const ticket of [held, many, own, waiting]) await before.remove(ticket, 'k');
      await before.remove(asked);
      await before.closeSession(id);

      expect(await other.tickets()).toEqual(standing);
      expect(await other.record('k')).toMatchObject({ value: 'heir' });
      await after.renewSession(id);
      expect(await after.stands(held)).toBe(true);
      await other.remove(blocker);
      expect(await after.place(waiting)).toMatchObject({ state: 'granted' });
      for (const ticket of [held, many, own, waiting]) await after.remove(ticket);
      expect(await other.tickets()).toEqual([]);
      await after.closeSession(id);
    },
  );

  test('opens a new session when the session to resume has ended', async () => {
    const [n1] = benchOf().clients;
    await n1.store.closeSession(n1.session);
    const resume = { ttlMs: longTtlMs, owner: 'n1', resumable: true, resume: n1.session };
    if (await refusesToResume(n1.store, resume)) return;
    const session = await n1.store.openSession(resume);
    expect(session.resumed).toBe(false);
    expect(session.id).not.toBe(n1.session);
    expect((await n1.store.renewSession(session.id)).ttlMs).toBeGreaterThanOrEqual(longTtlMs);
  });

  test('S15 S69 S77 frees what an expired session held, and nothing else', async () => {
    const { clients, fixture } = benchOf();
    if (fixture.expireSession === undefined) return neverExpires(clients[0].store);
    const [n1, n2, n3] = clients;
    const dying = await clientOf(n3.store, 'n4', shortTtlMs);
    const request = dying.request('db');
    const { ticket: held } = enabled(await dying.store.enqueue(request));
    const kept = await n1.hold('other');
    const deadWaiter = await dying.queue('other');
    const heir = await n2.queue('db');
    await fixture.expireSession(dying.session);

    expect(await n2.store.place(heir)).toMatchObject({ state: 'granted' });
    await n1.store.remove(kept);
    expect(await dying.store.place(deadWaiter)).toEqual({ state: 'gone' });
    expect(await dying.store.sessionAlive(dying.session)).toBe(false);
    await expect(dying.enqueue('x')).rejects.toThrow(SessionGoneError);
    await expect(dying.tryEnqueue('x')).rejects.toThrow(SessionGoneError);
    await expect(dying.store.enqueue(request)).rejects.toThrow(SessionGoneError);
    await expect(dying.store.renewSession(dying.session)).rejects.toThrow(SessionGoneError);
    await expect(dying.write(held, 'key', 'late')).rejects.toThrow(GuardLostError);
    await dying.store.remove(held);
    await dying.store.remove(request);
    expect(await n2.store.tickets()).toEqual([heir]);
    const resume = { ttlMs: longTtlMs, owner: 'n4', resumable: false, resume: dying.session };
    if (await refusesToResume(dying.store, resume)) return;
    expect(await dying.store.openSession(resume)).toMatchObject({ resumed: false });
  });

  test('S56 S85 grants an exclusive ticket alone after the shared ones before it expired', async () => {
    const { clients, fixture } = benchOf();
    if (fixture.expireSession === undefined) return neverExpires(clients[0].store);
    const [n1, n2, n3] = clients;
    const dying = await clientOf(n3.store, 'n4', shortTtlMs);
    await dying.hold(shared('db'));
    const writer = await n1.queue('db');
    await fixture.expireSession(dying.session);
    expect(await n1.store.place(writer)).toMatchObject({ state: 'granted' });
    const reader = n2.request(shared('db'));
    expect(await n2.store.tryEnqueue(reader)).toEqual({ state: 'refused', blockers: [writer] });
    expect(await n2.store.enqueue(reader)).toMatchObject({ state: 'waiting', blockers: [writer] });
  });

  test('S57 reports an expiry to watchers although nobody asks', async () => {
    const { clients, fixture } = benchOf();
    if (fixture.expireSession === undefined) return neverExpires(clients[0].store);
    const [n1, , n3] = clients;
    const dying = await clientOf(n3.store, 'n4', shortTtlMs);
    await dying.hold('a');
    await dying.hold('b');
    const mirror = new StoreMirror();
    using _ = n1.store.watch(mirror);
    await eventually(() => expect(mirror.tickets).toHaveLength(2));
    await fixture.expireSession(dying.session);
    await eventually(() => expect(mirror.tickets).toEqual([]));
    expect(mirror.faults).toEqual([]);
  });
}

/** True for a store whose sessions end with their process, after checking that it says so. */
async function refusesToResume(store: TicketStore, resume: SessionRequest): Promise<boolean> {
  if (store.properties.sessionsResume) return false;
  const before = await store.tickets();
  const { resume: _, ...afresh } = { ...resume, resumable: true };
  for (const request of [resume, afresh]) {
    await expect(store.openSession(request)).rejects.toThrow(LockUnsupportedError);
  }
  expect(await store.tickets()).toEqual(before);
  return true;
}
