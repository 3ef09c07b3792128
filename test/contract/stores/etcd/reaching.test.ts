// How the client reaches the members of etcd: real members on several addresses, each with a certificate of its
// own, behind proxies of the environment, with files that change. Real time.
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import type { EtcdOptions } from '../../../../lib/etcd/client.ts';
import { EtcdClient } from '../../../../lib/etcd/client.ts';
import { signCertificate } from '../../../support/certificates.ts';
import type { Etcd } from '../../../support/etcd-server.ts';
import { startEtcd } from '../../../support/etcd-server.ts';
import { eventually } from '../../../support/eventually.ts';
import { thisMachine } from '../../../support/machine.ts';
import { describeWith } from '../../../support/requirements.ts';
import { startTcpProxy } from '../../../support/tcp-proxy.ts';
import { makeTemporaryDirectory } from '../../../support/temporary-directory.ts';

const nobody = '127.0.0.1:1';

describeWith(['etcd'], 'the client of etcd', () => {
  let stack: AsyncDisposableStack;

  beforeEach(() => {
    stack = new AsyncDisposableStack();
  });
  afterEach(() => stack.disposeAsync());

  function connect(endpoints: readonly string[], options: Partial<EtcdOptions> = {}): EtcdClient {
    const client = new EtcdClient({ endpoints, ...options });
    stack.defer(() => client.close());
    return client;
  }

  const hosts = ({ endpoints }: Etcd) => endpoints.map((url) => new URL(url).host);
  /** Resolves when etcd has answered. */
  const ask = async (client: EtcdClient) => {
    await client.range({ key: Buffer.from('any') });
  };

  test('security E1: each member is checked by its own name and certificate, whichever is down', async () => {
    const machines = [11, 12, 13].map((last) => ({ ...thisMachine, address: `127.0.0.${last}` }));
    const etcd = stack.use(
      await startEtcd({ members: 3, tls: true, certificateEach: true, in: machines }),
    );
    const { tls: paths } = etcd;
    if (!paths) throw new Error('etcd has no certificates');
    const [ca, cert, key] = await Promise.all(
      [paths.ca, paths.cert, paths.key].map((path) => readFile(path)),
    );
    const tls = { ca, cert, key };
    const [first = '', second = '', third = ''] = hosts(etcd);
    await etcd.kill(0);
    for (const endpoints of [
      [first, second, third],
      [third, first, second],
      [first, second],
    ]) {
      const client = connect(endpoints, { tls });
      await eventually(() => ask(client));
    }
    // Its certificate is for another member's address, or for no such name.
    await using proxy = await startTcpProxy(second);
    for (const endpoint of [proxy.address, proxy.address.replace(/^[^:]*/, 'localhost')]) {
      await expect(ask(connect([endpoint], { tls }))).rejects.toThrow(/does not match cert/);
    }
  });

  test('bug-reports 7: a proxy of the environment is not asked, with a login and with several members', async () => {
    const etcd = stack.use(await startEtcd());
    await etcd.ctlOk('user', 'add', 'root', '--new-user-password', 'secret');
    await etcd.ctlOk('user', 'grant-role', 'root', 'root');
    await etcd.ctlOk('auth', 'enable');
    const auth = { user: 'root', password: 'secret' };
    const variables = ['grpc_proxy', 'http_proxy', 'https_proxy'];
    for (const name of variables) process.env[name] = `http://${nobody}`;
    stack.defer(() => {
      for (const name of variables) delete process.env[name];
    });
    await eventually(() => ask(connect(hosts(etcd), { auth })));
    await eventually(() => ask(connect([...hosts(etcd), nobody], { auth })));
  });

  test('bug-reports 13: members are reached by both families of addresses, in every order', async () => {
    const etcd = stack.use(await startEtcd({ in: { ...thisMachine, address: '[::1]' } }));
    for (const endpoints of [
      [nobody, ...hosts(etcd)],
      [...hosts(etcd), nobody],
    ]) {
      await eventually(() => ask(connect(endpoints)));
    }
  });

  test('bug-reports 15: a new password is used at the next login', async () => {
    const etcd = stack.use(await startEtcd());
    await etcd.ctlOk('user', 'add', 'root', '--new-user-password', 'old');
    await etcd.ctlOk('user', 'grant-role', 'root', 'root');
    await etcd.ctlOk('user', 'add', 'berth', '--new-user-password', 'old');
    await etcd.ctlOk('user', 'grant-role', 'berth', 'root');
    await etcd.ctlOk('auth', 'enable');
    await using directory = await makeTemporaryDirectory();
    const file = join(directory.path, 'password');
    await writeFile(file, 'old');
    const password = () => readFile(file, 'utf8');
    const client = connect(hosts(etcd), { auth: { user: 'berth', password } });
    await ask(client);
    const asRoot = (...args: string[]) => etcd.ctlOk('--user', 'root:old', ...args);
    await asRoot('user', 'delete', 'berth');
    await asRoot('user', 'add', 'berth', '--new-user-password', 'new');
    await asRoot('user', 'grant-role', 'berth', 'root');
    await expect(ask(client)).rejects.toThrow(/the user or the password is wrong/);
    await writeFile(file, 'new');
    await eventually(() => ask(client));
  });

  test('a certificate that was replaced is used at the next connection', async () => {
    const etcd = stack.use(await startEtcd({ tls: true }));
    const { tls: paths } = etcd;
    if (!paths) throw new Error('etcd has no certificates');
    await using directory = await makeTemporaryDirectory();
    const at = (name: string) => join(directory.path, name);
    const own = { ...paths, cert: at('cert.pem'), key: at('key.pem') };
    await signCertificate(own, ['client']);
    let cert = at('nothing-yet.pem');
    const tls = async () => ({
      ca: await readFile(paths.ca),
      cert: await readFile(cert),
      key: await readFile(own.key),
    });
    const client = connect(hosts(etcd), { tls });
    await expect(ask(client)).rejects.toThrow(/nothing-yet\.pem/);
    cert = own.cert;
    await eventually(() => ask(client));
  });
});
