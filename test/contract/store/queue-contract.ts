import { expect, test } from '@jest/globals';
import type { StoredRecord } from '../../../lib/lock/stores/ticket-store.ts';
import type { BenchOf } from '../bench/store-bench.ts';
import { enabled, exclusive, shared } from '../bench/store-bench.ts';

/** Checks the queue: order, modes, repeats and removal of tickets. */
export function queueContract(benchOf: BenchOf): void {
  test('S1 S6 S82 grants a free lock, and again after its removal, with a larger token', async () => {
    const [n1, n2] = benchOf().clients;
    const first = await n1.enqueue('db');
    expect(first.state).toBe('granted');
    await n1.store.remove(first.ticket);
    const second = await n2.enqueue('db');
    expect(second.state).toBe('granted');
    expect(second.ticket.token).toBeGreaterThan(first.ticket.token);
  });

  test('stores everything that a request says', async () => {
    const [n1, n2] = benchOf().clients;
    const request = { ...n1.request('db', shared('img')), kind: 'copy', owner: 'machine.n1' };
    const { ticket } = enabled(await n1.store.enqueue({ ...request, freesSpace: true }));
    expect(ticket).toMatchObject(request);
    expect(ticket).not.toHaveProperty('freesSpace');
    expect(await n2.store.tickets('img')).toEqual([ticket]);
  });

  test('sets the mark of a request in the step that writes its ticket', async () => {
    const [n1, n2, n3] = benchOf().clients;
    const { store } = n1;
    const marked = (client: typeof n1) => ({ ...client.request('db'), mark: 'asked/db' });
    const value = async () => (await store.record('asked/db'))?.value;
    const [first, second, third] = [marked(n1), marked(n2), marked(n3)];

    const granted = enabled(await n1.store.tryEnqueue(first));
    if (granted.state !== 'granted') throw new Error('n1 was refused');
    expect(granted.ticket).not.toHaveProperty('mark');
    expect(await store.record('asked/db')).toEqual({
      key: 'asked/db',
      value: first.nonce,
      revision: granted.ticket.token,
    });
    expect(await n2.store.tryEnqueue(marked(n2))).toMatchObject({ state: 'refused' });
    expect(await value()).toBe(first.nonce);
    const waiting = enabled(await n2.store.enqueue(second));
    expect(waiting).toMatchObject({ state: 'waiting', blockers: [granted.ticket] });
    expect(await value()).toBe(second.nonce);
    // A repeat, however late, does not set the mark again.
    expect(await n1.store.enqueue(first)).toMatchObject({ state: 'granted' });
    expect(await n1.store.tryEnqueue(first)).toMatchObject({ state: 'granted' });
    expect(await value()).toBe(second.nonce);

    await store.closeGate({ lockName: 'db', host: 'n1', since: '2026-01-02T03:04:05Z' });
    expect(await n3.store.enqueue(third)).toMatchObject({ state: 'disabled' });
    expect(await n3.store.tryEnqueue(third)).toMatchObject({ state: 'disabled' });
    expect(await value()).toBe(second.nonce);
    await store.openGate('db');
    await n1.store.remove(granted.ticket);
    await n2.store.remove(waiting.ticket);
    expect(await value()).toBe(second.nonce);
    await store.commit({
      guards: [],
      writes: [{ key: 'asked/db', value: undefined }],
      release: [],
    });
    expect(await value()).toBeUndefined();
  });

  test('sets the mark of several concurrent requests to the last of their tickets', async () => {
    const { clients } = benchOf();
    const requests = clients.flatMap((client) =>
      ['a', 'b', 'c'].map((name) => ({ ...client.request(name), mark: 'asked' })),
    );
    await Promise.all(requests.map((request, index) => clients[index % 3]?.store.enqueue(request)));
    const record = await clients[0].store.record('asked');
    const last = (await clients[0].store.tickets()).at(-1);
    expect(record?.value).toBe(last?.nonce);
    expect(record?.revision).toBe(last?.token);
  });

  test('tells the record that a request asks to read, as of the step of its grant', async () => {
    const [n1, n2] = benchOf().clients;
    const { store } = n1;
    const key = 'volumes/db';
    const reading = (client: typeof n1) => ({ ...client.request('db'), read: key, mark: 'asked' });
    const records: (StoredRecord | undefined)[] = [undefined];
    for (const value of ['one', 'two']) {
      const write = { guards: [], writes: [{ key, value }], release: [] };
      for (const ask of ['enqueue', 'tryEnqueue'] as const) {
        const granted = enabled(await n2.store[ask](reading(n2)));
        if (granted.state !== 'granted') throw new Error('n2 was refused');
        expect(granted.read).toEqual({ record: records.at(-1) });
        expect(granted.ticket).not.toHaveProperty('read');
        expect(await store.tickets('db')).toEqual([granted.ticket]);
        expect(enabled(await n1.store.enqueue(reading(n1)))).not.toHaveProperty('read');
        expect(enabled(await n1.store.tryEnqueue(reading(n1)))).not.toHaveProperty('read');
        for (const ticket of await store.tickets('db')) await store.remove(ticket);
      }
      records.push({ key, value, revision: (await store.commit(write)).revision });
    }
  });

  test('keeps the claim of a ticket until its removal names it, whatever becomes of the ticket', async () => {
    const [n1, n2] = benchOf().clients;
    const { store } = n1;
    const claiming = (client: typeof n1, name: string) => ({
      ...client.request('db'),
      claim: { key: `claims/db/${name}`, value: `of ${name}` },
    });
    const claims = async () => (await n2.store.records('claims/db/')).map(({ value }) => value);

    const first = enabled(await store.enqueue(claiming(n1, 'first')));
    expect(first.ticket).not.toHaveProperty('claim');
    expect(await n2.store.records('claims/db/')).toEqual([
      { key: 'claims/db/first', value: 'of first', revision: first.ticket.token },
    ]);
    expect(await n2.store.tryEnqueue(claiming(n2, 'refused'))).toMatchObject({ state: 'refused' });
    const waiting = claiming(n2, 'waiting');
    await n2.store.enqueue(waiting);
    expect(await claims()).toEqual(['of first', 'of waiting']);
    // A request that gives up has never begun.
    await n2.store.remove(waiting, waiting.claim.key);
    expect(await claims()).toEqual(['of first']);

    await n2.store.remove(first.ticket); // For example an operator, who knows nothing of its end.
    expect(await claims()).toEqual(['of first']);
    const second = enabled(await n2.store.enqueue(claiming(n2, 'second')));
    expect(second.state).toBe('granted');
    // The first one's owner is late: its own claim goes, nothing else.
    await store.remove(first.ticket, 'claims/db/first');
    expect(await claims()).toEqual(['of second']);
    await n2.store.remove(second.ticket, 'claims/db/second');
    await n2.store.remove(second.ticket, 'claims/db/second');
    expect(await claims()).toEqual([]);
    expect(await store.tickets()).toEqual([]);
  });

  test('writes the note of a removal in its step, and only in the one that removes the ticket', async () => {
    const [n1, n2] = benchOf().clients;
    const note = (value: string) => ({ key: 'uses/db', value });
    const noted = async () => (await n2.store.record('uses/db'))?.value;
    const claim = { key: 'claims/db/first', value: 'of first' };
    const { ticket } = enabled(await n1.store.enqueue({ ...n1.request('db'), claim }));
    await n1.store.remove(ticket, claim.key, note('first'));
    expect(await noted()).toBe('first');
    expect(await n2.store.records('claims/')).toEqual([]);
    const second = enabled(await n2.store.enqueue(n2.request('db')));
    await n1.store.remove(ticket, claim.key, note('late')); // A repeat of an answer that was lost.
    expect(await noted()).toBe('first');
    await n2.store.remove(second.ticket, undefined, note('second'));
    expect(await noted()).toBe('second');
    const both = n1.request('db', 'web');
    await n1.store.remove(enabled(await n1.store.enqueue(both)).ticket, undefined, note('both'));
    expect(await noted()).toBe('both');
    expect(await n1.store.tickets()).toEqual([]);
  });

  test('tells the records below a prefix that a request asks to read, as of the step of its grant', async () => {
    const [n1, n2] = benchOf().clients;
    const claims = { read: 'volumes/db', readBelow: 'claims/db/' };
    const claim = { key: 'claims/db/first', value: 'of n1' };
    const first = enabled(await n1.store.enqueue({ ...n1.request('db'), ...claims, claim }));
    await n1.store.remove(first.ticket);
    const write = { key: 'claims/db2/first', value: 'of another volume' };
    await n1.store.commit({ guards: [], writes: [write], release: [] });
    for (const ask of ['enqueue', 'tryEnqueue'] as const) {
      const mine = { key: `claims/db/of-${ask}`, value: ask };
      const granted = enabled(await n2.store[ask]({ ...n2.request('db'), ...claims, claim: mine }));
      if (granted.state !== 'granted') throw new Error('n2 was refused');
      expect(granted.ticket).not.toHaveProperty('readBelow');
      expect(granted.read?.record).toBeUndefined();
      const below = granted.read?.below?.filter(({ key }) => key !== mine.key);
      expect(below).toEqual([{ ...claim, revision: first.ticket.token }]);
      await n2.store.remove(granted.ticket, mine.key);
    }
  });

  test('keeps the claim of a ticket whose session has ended', async () => {
    const [n1, n2] = benchOf().clients;
    const claim = { key: 'claims/db/n1', value: 'of n1' };
    await n1.store.enqueue({ ...n1.request('db'), claim });
    await n1.store.closeSession(n1.session);
    expect(await n2.store.tickets()).toEqual([]);
    expect(await n2.store.records('claims/')).toMatchObject([claim]);
  });

  test('reads the records below a prefix, by key, and no others', async () => {
    const [n1, n2] = benchOf().clients;
    const keys = ['a/b', 'a/', 'a', 'b/a', 'a/B', 'a/_', 'a/%c', 'A/b'];
    const writes = keys.map((key) => ({ key, value: `value of ${key}` }));
    await n1.store.commit({ guards: [], writes, release: [] });
    const found = await n2.store.records('a/');
    expect(found.map(({ key }) => key)).toEqual(['a/', 'a/%c', 'a/B', 'a/_', 'a/b']);
    expect(await n2.store.records('c')).toEqual([]);
    expect(await n2.store.records('')).toHaveLength(keys.length);
  });

  test('S2 S11 refuses a try for a held lock, names the holder and leaves no ticket', async () => {
    const [n1, n2, n3] = benchOf().clients;
    const held = await n1.hold('db');
    for (const client of [n2, n3]) {
      expect(await client.tryEnqueue('db')).toEqual({ state: 'refused', blockers: [held] });
    }
    expect(await n3.store.tickets()).toEqual([held]);
    await n1.store.remove(held);
    expect(await n2.tryEnqueue('db')).toMatchObject({ state: 'granted' });
  });

  test('refuses a try behind a ticket that only waits', async () => {
    const [n1, n2, n3] = benchOf().clients;
    await n1.hold(shared('db'));
    const waiting = await n2.queue('db');
    expect(await n3.tryEnqueue(shared('db'))).toEqual({ state: 'refused', blockers: [waiting] });
  });

  test('S3 does not let different names conflict', async () => {
    const [n1, n2] = benchOf().clients;
    await n1.hold('db');
    expect(await n2.enqueue('db2')).toMatchObject({ state: 'granted' });
    expect(await n2.enqueue('d')).toMatchObject({ state: 'granted' });
  });

  test('S5 grants in token order and names the nearest blocking ticket', async () => {
    const [n1, n2, n3] = benchOf().clients;
    const first = await n1.hold('db');
    const second = await n2.enqueue('db');
    const third = await n3.enqueue('db');
    expect(second).toMatchObject({ state: 'waiting', blockers: [first] });
    expect(third).toMatchObject({ state: 'waiting', blockers: [second.ticket] });
    expect(third.ticket.token).toBeGreaterThan(second.ticket.token);
    await n1.store.remove(first);
    expect(await n3.store.place(third.ticket)).toMatchObject({ blockers: [second.ticket] });
    expect(await n2.store.place(second.ticket)).toEqual({
      state: 'granted',
      ticket: second.ticket,
    });
  });

  test('S65 keeps the third ticket waiting for the holder after the second was removed', async () => {
    const [n1, n2, n3] = benchOf().clients;
    const first = await n1.hold('db');
    const second = await n2.queue('db');
    const third = await n3.queue('db');
    await n2.store.remove(second);
    expect(await n3.store.place(third)).toMatchObject({ state: 'waiting', blockers: [first] });
    await n1.store.remove(first);
    expect(await n3.store.place(third)).toMatchObject({ state: 'granted' });
  });

  test('says of granted tickets that they stand, and of others that they do not', async () => {
    const [n1, n2] = benchOf().clients;
    const held = await n1.hold('db', shared('img'));
    const waiting = await n2.queue('db');
    expect(await n2.store.stands(held)).toBe(true);
    expect(await n2.store.stands(waiting)).toBe(false);
    await n1.store.remove(held);
    expect(await n1.store.stands(held)).toBe(false);
    expect(await n1.store.stands(waiting)).toBe(true);
    const successor = await n1.hold(shared('img'));
    expect(await n1.store.stands(held)).toBe(false);
    expect(await n1.store.stands(successor)).toBe(true);
  });

  test('S66 grants shared tickets together and makes an exclusive one wait for all of them', async () => {
    const [n1, n2, n3] = benchOf().clients;
    const readers = [await n1.hold(shared('db')), await n2.hold(shared('db'))];
    const writer = await n3.queue(exclusive('db'));
    for (const [index, reader] of readers.entries()) {
      expect(await n3.store.place(writer)).toMatchObject({ state: 'waiting' });
      await n1.store.remove(reader);
      const state = index === 0 ? 'waiting' : 'granted';
      expect(await n3.store.place(writer)).toMatchObject({ state });
    }
  });

  test('S66 makes a shared ticket wait for the exclusive one before it, and for no other', async () => {
    const [n1, n2, n3] = benchOf().clients;
    const reader = await n1.hold(shared('db'));
    const writer = await n2.queue('db');
    const late = [await n3.enqueue(shared('db')), await n1.enqueue(shared('db'))];
    for (const answer of late) {
      expect(answer).toMatchObject({ state: 'waiting', blockers: [writer] });
    }
    await n1.store.remove(reader);
    await n2.store.remove(writer);
    for (const { ticket } of late) {
      expect(await n1.store.place(ticket)).toMatchObject({ state: 'granted' });
    }
  });

  test('lets two tickets of one session exclude each other', async () => {
    const [n1] = benchOf().clients;
    const held = await n1.hold('db');
    expect(await n1.tryEnqueue('db')).toMatchObject({ state: 'refused' });
    expect(await n1.enqueue('db')).toMatchObject({ state: 'waiting', blockers: [held] });
  });

  test('answers a repeated enqueue for the ticket that the first one wrote', async () => {
    const [n1, n2] = benchOf().clients;
    const held = n1.request('db');
    const { ticket } = enabled(await n1.store.enqueue(held));
    expect(await n1.store.enqueue(held)).toEqual({ state: 'granted', ticket });
    const wait = n2.request('db');
    const waiting = enabled(await n2.store.enqueue(wait));
    expect(await n2.store.enqueue(wait)).toMatchObject({
      state: 'waiting',
      ticket: waiting.ticket,
      blockers: [ticket],
    });
    await n1.store.remove(ticket);
    expect(await n2.store.enqueue(wait)).toEqual({ state: 'granted', ticket: waiting.ticket });
    expect(await n1.store.tickets()).toEqual([waiting.ticket]);
  });

  test('answers a repeated try for the ticket that the first one wrote', async () => {
    const [n1, n2] = benchOf().clients;
    const request = n1.request('db');
    const granted = await n1.store.tryEnqueue(request);
    await n2.queue('db');
    expect(await n1.store.tryEnqueue(request)).toEqual(granted);
    expect(await n1.store.tickets('db')).toHaveLength(2);
  });

  test('says of a removed ticket that it is gone, also after another took its place', async () => {
    const [n1, n2] = benchOf().clients;
    const ticket = await n1.hold('db');
    await n1.store.remove(ticket);
    expect(await n2.store.place(ticket)).toEqual({ state: 'gone' });
    await n1.hold('db');
    expect(await n2.store.place(ticket)).toEqual({ state: 'gone' });
  });

  test('answers for a waiting ticket with a revision not older than its blocker', async () => {
    const [n1, n2] = benchOf().clients;
    const held = await n1.hold('db');
    const answer = await n2.enqueue('db');
    if (answer.state !== 'waiting') throw new Error('should wait');
    expect(answer.revision).toBeGreaterThanOrEqual(held.token);
    const placed = await n2.store.place(answer.ticket);
    if (placed.state !== 'waiting') throw new Error('should still wait');
    expect(placed.revision).toBeGreaterThanOrEqual(answer.ticket.token);
  });

  test('S35 resolves when it removes a ticket that does not exist', async () => {
    const [n1] = benchOf().clients;
    const ticket = await n1.hold('db');
    await n1.store.remove(ticket);
    await n1.store.remove(ticket);
    await n1.store.remove(n1.request('db'));
    expect(await n1.store.tickets()).toEqual([]);
  });

  test('defect A9, S15 S67 does not remove the successor of a removed ticket', async () => {
    const [n1] = benchOf().clients;
    const request = n1.request('db');
    const { ticket } = enabled(await n1.store.enqueue(request));
    await n1.store.remove(ticket);
    const successor = await n1.hold('db');
    await n1.store.remove(ticket);
    await n1.store.remove(request);
    expect(await n1.store.place(successor)).toMatchObject({ state: 'granted' });
  });

  test('does not remove a later ticket of the same request', async () => {
    const [n1] = benchOf().clients;
    const request = n1.request('db');
    const earlier = enabled(await n1.store.enqueue(request));
    await n1.store.remove(earlier.ticket);
    const later = enabled(await n1.store.enqueue(request));
    await n1.store.remove(earlier.ticket);
    expect(await n1.store.place(earlier.ticket)).toEqual({ state: 'gone' });
    expect(await n1.store.tickets()).toEqual([later.ticket]);
  });

  test('S58 removes a ticket of unknown outcome by its request', async () => {
    const [n1, n2] = benchOf().clients;
    const held = n1.request('db');
    const waiting = n2.request('db');
    const { ticket } = enabled(await n1.store.enqueue(held));
    await n2.store.enqueue(waiting);
    await n2.store.remove(waiting);
    expect(await n1.store.tickets()).toEqual([ticket]);
    await n1.store.remove(held);
    expect(await n1.store.tickets()).toEqual([]);
  });

  test('S18 S60 grants one of 50 concurrent tries and leaves no ticket of the others', async () => {
    const { clients } = benchOf();
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, index) => clients[index % 3]?.tryEnqueue('db')),
    );
    const granted = answers.filter((answer) => answer?.state === 'granted');
    expect(granted).toHaveLength(1);
    expect(await clients[0].store.tickets()).toEqual([granted[0]?.ticket]);
  });

  test('S5 S64 grants 30 concurrent requests one after another, in token order', async () => {
    const { clients } = benchOf();
    await Promise.all(Array.from({ length: 30 }, (_, index) => clients[index % 3]?.enqueue('db')));
    const [{ store }] = clients;
    const queue = await store.tickets('db');
    expect(new Set(queue.map(({ token }) => token)).size).toBe(30);
    for (const [index, ticket] of queue.entries()) {
      const placements = await Promise.all(queue.slice(index).map((other) => store.place(other)));
      expect(placements.map(({ state }) => state === 'granted')).toEqual(
        queue.slice(index).map((other) => other === ticket),
      );
      await store.remove(ticket);
    }
  });

  test('S13 leaves nothing after 200 cycles', async () => {
    const { clients } = benchOf();
    let token = 0;
    for (let index = 0; index < 200; index += 1) {
      const client = clients[index % 3] ?? clients[0];
      const ticket = await client.hold('db');
      expect(ticket.token).toBeGreaterThan(token);
      token = ticket.token;
      await client.store.remove(ticket);
    }
    expect(await clients[0].store.tickets()).toEqual([]);
  });
}
