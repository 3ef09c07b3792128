import { expect, test } from '@jest/globals';
import { isPermanent } from '../../../lib/lock/permanent-session.ts';
import type { TicketStore } from '../../../lib/lock/stores/ticket-store.ts';
import type { BenchOf } from '../bench/store-bench.ts';
import { Client, clientOf, shortTtlMs } from '../bench/store-bench.ts';

const ttlMs = Number.POSITIVE_INFINITY;

/** Checks permanent sessions, which outlive their host; some stores have none. */
export function permanentSessionContract(benchOf: BenchOf): void {
  test('opens one permanent session per owner, for which the owner has to remember nothing', async () => {
    const [{ store }, { store: other }] = benchOf().clients;
    if (await hasNone(store)) return;
    const request = { ttlMs, owner: 'n4', resumable: true };
    const { id } = await store.openSession(request);
    expect(isPermanent(id)).toBe(true);
    expect(await other.openSession(request)).toEqual({ id, ttlMs, resumed: true });
    expect((await store.openSession({ ...request, owner: 'n5' })).id).not.toBe(id);
    expect(await other.renewSession(id)).toEqual({ ttlMs });
    const { id: leased } = await store.openSession({ ...request, ttlMs: shortTtlMs });
    expect(isPermanent(leased)).toBe(false);
    await store.closeSession(leased);
  });

  test('keeps the tickets of a permanent session after its host died, for that host alone', async () => {
    const { clients, fixture } = benchOf();
    const [n1, n2, n3] = clients;
    if (await hasNone(n3.store)) return;
    const leased = await clientOf(n3.store, 'n4', shortTtlMs);
    await leased.hold('leased');
    const before = await permanentClient(n3.store, 'n4');
    const [held, both] = [await before.hold('db'), await before.hold('a', 'b')];
    const waiting = await n1.queue('db');
    await fixture.expireSession?.(leased.session);

    expect(await n1.store.place(waiting)).toMatchObject({ state: 'waiting', blockers: [held] });
    expect(await n2.tryEnqueue('a')).toEqual({ state: 'refused', blockers: [both] });
    expect((await n2.hold('leased')).token).toBeGreaterThan(held.token);
    expect(await n2.store.sessionAlive(before.session)).toBe(false);
    const after = await permanentClient(n2.store, 'n4');
    expect(await after.store.stands(held)).toBe(true);
    await after.write(held, 'key', 'written after the return');
    await after.store.remove(held);
    expect(await n1.store.place(waiting)).toMatchObject({ state: 'granted' });
    await n1.store.remove(both);
    expect(await n1.store.tickets('a')).toEqual([]);
  });

  test('removes the tickets of a permanent session that is closed, and keeps the session', async () => {
    const [n1, n2, n3] = benchOf().clients;
    if (await hasNone(n3.store)) return;
    const permanent = await permanentClient(n3.store, 'n4');
    await permanent.hold('a', 'b');
    const kept = await n1.hold('c');
    await permanent.queue('c');
    const others = await (await permanentClient(n3.store, 'n5')).hold('d');
    const waiting = await n2.queue('a');
    await n3.store.closeSession(permanent.session);
    await n3.store.closeSession(permanent.session);
    expect(await n2.store.tickets()).toEqual([kept, others, waiting]);
    expect(await n2.store.place(waiting)).toMatchObject({ state: 'granted' });
    const again = await permanent.hold('b');
    expect(await n3.store.stands(again)).toBe(true);
    for (const ticket of [again, others]) await n3.store.remove(ticket);
  });
}

async function permanentClient(store: TicketStore, owner: string): Promise<Client> {
  const { id } = await store.openSession({ ttlMs, owner, resumable: true });
  return new Client(owner, store, id);
}

/** True for a store of one host, after checking that it opens an ordinary session instead. */
async function hasNone(store: TicketStore): Promise<boolean> {
  if (store.properties.sessionsExpire) return false;
  const { sessionsResume: resumable } = store.properties;
  const { id, ttlMs: granted } = await store.openSession({ ttlMs, owner: 'n4', resumable });
  expect(isPermanent(id)).toBe(false);
  expect(granted).toBe(ttlMs);
  await store.closeSession(id);
  expect(await store.sessionAlive(id)).toBe(false);
  return true;
}
