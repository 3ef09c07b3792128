// docs/lock-server.md: `berth lock serve` as a process, with curl as its client.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { EtcdClient } from '../../../lib/etcd/client.ts';
import type { LockManager } from '../../../lib/lock/lock-manager.ts';
import { EtcdStore } from '../../../lib/lock/stores/etcd/store.ts';
import { addressesOf } from '../../contract/bench/etcd-fixture.ts';
import { manager, queue, take } from '../../contract/bench/manager-bench.ts';
import { repository } from '../../support/berth.ts';
import { makeCertificates } from '../../support/certificates.ts';
import type { Etcd } from '../../support/etcd-server.ts';
import { startEtcd } from '../../support/etcd-server.ts';
import type { ServedFile } from '../../support/lock-server.ts';
import { curl, holdByCurl, serveFile, startLockServer } from '../../support/lock-server.ts';
import { makeNamespaces } from '../../support/namespaces.ts';
import { startNetwork } from '../../support/network.ts';
import { runProcess, waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';

const token = 'a token of more than 16 characters';
let stack: AsyncDisposableStack;
let { directory, file, library, url } = {} as ServedFile;
let names = 0;

beforeAll(async () => {
  stack = new AsyncDisposableStack();
  ({ directory, file, library, url } = await serveFile(stack));
});
afterAll(() => stack.disposeAsync());

const newName = () => {
  names += 1;
  return `lock${names}`;
};
const isFree = (name: string) => async () => (await library.inspect(name)).length === 0;

describeWith(['curl'], 'a lock that curl holds', () => {
  test.each(['SIGKILL', 'SIGTERM'] as const)(
    'waits in the queue of all programs, and is free when the client is ended by %s',
    async (signal) => {
      const name = newName();
      const before = await library.lock(name);
      await using holding = holdByCurl(url, name, { owner: 'n1', reason: 'backup', detail: 'x' });
      const { holders } = await holding.line('waiting');
      expect(holders).toMatchObject([{ host: 'n2', reason: 'Deploy', token: before.token }]);
      const after = library.lock(name);
      await before.unlock();
      const granted = await holding.line('granted');
      expect(granted.token).toBeGreaterThan(before.token);
      const [ticket] = await library.inspect(name);
      expect(ticket?.holder).toMatchObject({ host: 'n1', reason: 'backup', detail: 'x' });
      holding.process.kill(signal);
      const next = await after;
      expect(next.token).toBeGreaterThan(granted.token ?? Number.NaN);
      await next.unlock();
    },
  );

  test('is shared by its mode, and refused at once or after its wait with who holds it', async () => {
    const name = newName();
    await using first = holdByCurl(url, name, { mode: 'shared' });
    await first.line('granted');
    await using second = holdByCurl(url, name, { mode: 'shared' });
    await second.line('granted');
    await using late = holdByCurl(url, name, { waitMs: 300 });
    await late.process.finished;
    expect(late.lines().map(({ event }) => event)).toEqual(['waiting', 'error']);
    expect(late.lines()[1]).toMatchObject({
      code: 'timeout',
      holders: [{ host: '127.0.0.1' }],
    });
    const refused = await curl(`${url}/v1/locks/${name}`, '--data', '{"waitMs":0}');
    expect(refused).toMatchObject({ status: 409, body: { error: { code: 'contended' } } });
  });

  test('has as many holders at once as permits, and refuses another number of them', async () => {
    const name = newName();
    await using first = holdByCurl(url, name, { permits: 2 });
    await first.line('granted');
    await using second = holdByCurl(url, name, { permits: 2 });
    await second.line('granted');
    const ask = (body: object) => curl(`${url}/v1/locks/${name}`, '--data', JSON.stringify(body));
    const full = await ask({ permits: 2, waitMs: 0 });
    expect(full).toMatchObject({ status: 409, body: { error: { code: 'contended' } } });
    const other = await ask({ permits: 3 });
    expect(other).toMatchObject({ status: 409, body: { error: { code: 'refused' } } });
    for (const body of [{ permits: 0 }, { permits: 1_001 }, { permits: 2, mode: 'shared' }]) {
      expect(await ask(body)).toMatchObject({ status: 400, body: { error: { code: 'invalid' } } });
    }
  });

  test('leaves no request behind when its client is killed while it waits', async () => {
    const name = newName();
    const before = await library.lock(name);
    await using waiting = holdByCurl(url, name);
    await waiting.line('waiting');
    waiting.process.kill('SIGKILL');
    const alone = async () => (await library.inspect(name)).length === 1;
    await waitFor(alone, 5_000, 'the request to be removed');
    await before.unlock();
  });

  test('is released by another request, which answers when its client has ended and others can have it', async () => {
    const name = newName();
    await using holding = holdByCurl(url, name);
    const { token: number } = await holding.line('granted');
    const release = (of: number) =>
      curl(`${url}/v1/locks/${name}/release`, '--data', JSON.stringify({ token: of }));
    expect((await release(1_000_000)).status).toBe(404);
    const released = release(number ?? 0);
    await holding.line('released');
    expect(await library.inspect(name)).toHaveLength(1);
    holding.process.kill('SIGTERM');
    expect(await released).toMatchObject({ status: 200 });
    expect(await library.inspect(name)).toEqual([]);
  });

  test('is lost when an operator clears it, and its client reads why', async () => {
    const name = newName();
    await using holding = holdByCurl(url, name);
    const { token: number } = await holding.line('granted');
    const clear = (body: object) =>
      curl(`${url}/v1/locks/${name}/clear`, '--data', JSON.stringify(body));
    const refused = await clear({ token: number });
    expect(refused).toMatchObject({ status: 409, body: { error: { code: 'refused' } } });
    expect(refused.body.error?.message).toContain('is alive: host 127.0.0.1');
    expect((await clear({ token: number, force: true })).status).toBe(200);
    await holding.process.finished;
    expect(holding.lines().at(-1)).toMatchObject({
      event: 'lost',
      message: expect.stringContaining('its ticket was removed'),
    });
  });

  test('is listed, and refused while it is disabled', async () => {
    const name = '../a%2Fb c'; // As it is: three characters of it are encoded in the path.
    const path = `${url}/v1/locks/${encodeURIComponent(name)}`;
    await using _ = await library.lock(name);
    const { body } = await curl(path);
    expect(body).toMatchObject({
      locks: [{ host: 'n2', state: 'held', locks: [{ name, mode: 'exclusive' }] }],
      disabled: [],
    });
    await curl(`${path}/disable`, '--data', '{"why":"upgrade of n3"}');
    expect((await curl(`${url}/v1/locks`)).body).toMatchObject({
      disabled: [{ lockName: name, why: 'upgrade of n3' }],
    });
    const refused = await curl(path, '--data', '{}');
    expect(refused).toMatchObject({ status: 409, body: { error: { code: 'disabled' } } });
    expect(refused.body.error?.message).toContain('upgrade of n3');
    await curl(`${path}/enable`, '--request', 'POST');
    expect(await library.gates()).toEqual([]);
  });
});

describeWith(['curl'], 'what a lock server refuses', () => {
  test.each([
    ['a body that is no JSON', 'x', 'the body is not JSON'],
    ['a field that it does not know', '{"wait":1}', 'Unrecognized key'],
    ['a TTL with a part of a second', '{"ttlMs":2500}', 'ttlMs: '],
    ['a body that is too large', `{"detail":"${'x'.repeat(20_000)}"}`, 'larger than 16384'],
  ])('%s', async (_what, body, message) => {
    const { status, body: answer } = await curl(`${url}/v1/locks/${newName()}`, '--data', body);
    expect(status).toBe(400);
    expect(answer.error?.message).toContain(message);
  });

  test.each([
    ['a name that is too long', 'x'.repeat(1_001), 400],
    ['no name', '', 400],
    ['a name with a wrong code', '%zz', 400],
    ['a path that it does not have', 'db/explode', 404],
  ])('%s', async (_what, path, expected) => {
    const { status } = await curl(`${url}/v1/locks/${path}`, '--data', '{}');
    expect(status).toBe(expected);
  });

  test('a web page of another server', async () => {
    const statusWith = async (header: string) =>
      (await curl(`${url}/v1/locks`, '--header', header)).status;
    expect(await statusWith('Origin: http://a.example')).toBe(403);
    expect(await statusWith('Sec-Fetch-Site: cross-site')).toBe(403);
    // The name of such a server leads to the loopback by now.
    for (const host of ['a.example', 'a.example:7020', '127.0.0.1.a.example', '[::2]', '']) {
      expect([host, await statusWith(`Host: ${host}`)]).toEqual([host, 403]);
    }
    for (const host of ['localhost', 'LOCALHOST:7020', '127.0.0.2:1', '[::1]:7020']) {
      expect([host, await statusWith(`Host: ${host}`)]).toEqual([host, 200]);
    }
  });

  test('an address beyond loopback without TLS and a token, a token that is short, and a TTL that is', async () => {
    const start = async (...flags: string[]) => {
      const args = ['lock', 'serve', '--store', file, '--listen', ...flags];
      const { code, stderr } = await runProcess(join(repository, 'bin/berth'), args);
      return { code, stderr };
    };
    expect(await start('127.0.0.1:0', '--ttl', '0s')).toMatchObject({ code: 2 });
    expect(await start('0.0.0.0:0')).toEqual({
      code: 2,
      stderr: expect.stringContaining('needs TLS (a certificate and its key) and a token there'),
    });
    const short = join(directory.path, 'short');
    await writeFile(short, 'secret\n', { mode: 0o600 });
    expect(await start('127.0.0.1:0', '--token-file', short)).toEqual({
      code: 2,
      stderr: expect.stringContaining('has less than 16 characters'),
    });
  });
});

describeWith(['curl'], 'a lock server with TLS and a token', () => {
  test('serves who has the token, and nobody else', async () => {
    const { ca, cert, key } = await makeCertificates(directory.path, ['127.0.0.1']);
    const tokenFile = join(directory.path, 'token');
    await writeFile(tokenFile, `${token}\n`, { mode: 0o600 });
    const flags = ['--tls-cert', cert, '--tls-key', key, '--token-file', tokenFile];
    await using server = await startLockServer(file, flags);
    expect(server.url).toMatch(/^https:/);
    const trusted = ['--cacert', ca];
    const withToken = (given: string) => [...trusted, '--header', `Authorization: Bearer ${given}`];
    expect((await curl(`${server.url}/v1/locks`, ...trusted)).status).toBe(401);
    for (const wrong of [`${token}x`, token.slice(1), token.toUpperCase()]) {
      const { status, body } = await curl(`${server.url}/v1/locks`, ...withToken(wrong));
      expect(status).toBe(401);
      expect(body.error?.code).toBe('unauthorized');
    }
    const name = newName();
    await using holding = holdByCurl(server.url, name, {}, { flags: withToken(token) });
    await holding.line('granted');
    holding.process.kill('SIGKILL');
    await waitFor(isFree(name), 5_000, 'the lock to be free');
  });
});

describeWith(['curl'], 'the end of a lock server', () => {
  test('SIGTERM asks holders to end, refuses who waits, and releases what is left', async () => {
    await using server = await startLockServer(file);
    const [kept, ended] = [newName(), newName()];
    await using stubborn = holdByCurl(server.url, kept);
    await using polite = holdByCurl(server.url, ended);
    await Promise.all([stubborn.line('granted'), polite.line('granted')]);
    await using waiting = holdByCurl(server.url, kept);
    await waiting.line('waiting');
    server.process.kill('SIGTERM');
    expect(await stubborn.line('stopping')).toMatchObject({ graceMs: 10_000 });
    await waiting.process.finished;
    expect(waiting.lines().at(-1)).toMatchObject({ event: 'error', code: 'unavailable' });
    polite.process.kill('SIGTERM');
    await waitFor(isFree(ended), 5_000, 'the lock of the client that has ended');
    expect(await library.inspect(kept)).toHaveLength(1);
    server.process.kill('SIGTERM'); // Not to wait for the ten seconds.
    await stubborn.process.finished;
    expect(stubborn.lines().at(-1)).toMatchObject({ event: 'lost' });
    expect((await server.process.finished).code).toBe(0);
    expect(await library.inspect(kept)).toEqual([]);
  });

  test('SIGKILL ends the connections of its clients', async () => {
    await using server = await startLockServer(file);
    const name = newName();
    await using holding = holdByCurl(server.url, name);
    await holding.line('granted');
    server.process.kill('SIGKILL');
    const { code } = await holding.process.finished;
    expect(code).not.toBe(0);
    await waitFor(isFree(name), 5_000, 'the lock to be free');
  });
});

describeWith(['curl', 'etcd'], 'a lock server on etcd', () => {
  let etcd: Etcd;
  let others: LockManager;
  let address: string;
  let servers: AsyncDisposableStack;
  beforeAll(async () => {
    servers = new AsyncDisposableStack();
    etcd = servers.use(await startEtcd());
    const store = servers.use(
      new EtcdStore(new EtcdClient({ endpoints: addressesOf(etcd) }), '/http'),
    );
    others = servers.use(manager(store, 'n2'));
    address = `${etcd.url}/http`;
  });
  afterAll(() => servers.disposeAsync());

  test('says while it stands that it is alive, several times in the time of silence', async () => {
    await using server = await startLockServer(address);
    await using holding = holdByCurl(server.url, 'alive', { ttlMs: 3_000 });
    const { maxSilenceMs } = await holding.line('granted');
    expect(maxSilenceMs).toBe(1_500);
    const alive = () => holding.lines().filter(({ event }) => event === 'alive').length >= 4;
    await waitFor(alive, 5_000, 'four lines');
  });

  test('tells holders that their locks are lost when the store does not answer, before others get them', async () => {
    await using server = await startLockServer(address, ['--ttl', '4s']);
    await using holding = holdByCurl(server.url, 'frozen');
    await holding.line('granted');
    etcd.pause();
    const lost = await holding.line('lost');
    etcd.resume();
    expect(lost.message).toContain('lost the lock on frozen');
    await (await take(others, 'frozen')).unlock();
  });

  test('says nothing while it is frozen, and that the lock is lost when it goes on', async () => {
    await using server = await startLockServer(address, ['--ttl', '4s']);
    await using holding = holdByCurl(server.url, 'stopped');
    await holding.line('alive');
    server.process.kill('SIGSTOP');
    const before = holding.lines().length;
    const next = await queue(others, 'stopped');
    const lock = await next.granted;
    expect(holding.lines()).toHaveLength(before);
    server.process.kill('SIGCONT');
    await holding.line('lost');
    expect(holding.lines().slice(before)).toMatchObject([{ event: 'lost' }]);
    await lock.unlock();
  });
});

describeWith(['curl', 'docker'], 'a client whose machine vanishes', () => {
  test('keeps its lock for about the TTL, although lines to it are under way', async () => {
    await using network = await startNetwork();
    await using host = await makeNamespaces();
    const cable = await network.attach(host.pid);
    const { cert, key, ca } = await makeCertificates(directory.path, [network.address]);
    const tokenFile = join(directory.path, 'token');
    await writeFile(tokenFile, token, { mode: 0o600 });
    const secrets = ['--tls-cert', cert, '--tls-key', key, '--token-file', tokenFile];
    const flags = ['--listen', `${network.address}:7020`, '--ttl', '3s', ...secrets];
    await using server = await startLockServer(file, flags, network.spawn);
    const asked = ['--cacert', ca, '--header', `Authorization: Bearer ${token}`];
    const name = newName();
    const client = { start: host.spawn, flags: asked };
    await using holding = holdByCurl(server.url, name, {}, client);
    await holding.line('alive');
    await cable.disconnect();
    // A quarter of an hour without the limit.
    await waitFor(isFree(name), 20_000, 'the lock to be free');
  });
});
