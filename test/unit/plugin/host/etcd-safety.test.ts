// Which settings and files make etcd easy to reach for others: real files, no etcd.
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { loadConfig } from '../../../../plugin/config/config.ts';
import { etcdSafety } from '../../../../plugin/host/etcd-safety.ts';
import { makeTemporaryDirectory } from '../../../support/temporary-directory.ts';

const messages = async (...flags: string[]) =>
  (await etcdSafety(loadConfig(['--host', 'n1', ...flags], {}).store)).map(
    ({ message }) => message,
  );

test('security E3: an etcd that asks for no client certificate is said, unless it is on this host alone', async () => {
  expect(await messages()).toEqual([]);
  expect(await messages('--store', 'etcd://127.0.0.1:2379,[::1]:2379,localhost:2379')).toEqual([]);
  expect(await messages('--store', 'etcd://127.0.0.1:2379,10.0.0.1:2379')).toEqual([
    expect.stringMatching(/^etcd asks this host for no client certificate.*change volumes/),
  ]);
  const paths = ['--etcd-ca', '/ca', '--etcd-cert', '/cert', '--etcd-key', '/key'];
  expect(await messages('--store', 'etcds://10.0.0.1:2379', ...paths)).toEqual([]);
});

test('security E4: a password in plain text, and a file that others can read, are said', async () => {
  await using directory = await makeTemporaryDirectory();
  const file = join(directory.path, 'password');
  await writeFile(file, 'secret', { mode: 0o600 });
  const login = ['--etcd-user', 'berth', '--etcd-password-file', file];
  const network = [
    expect.stringMatching(/^the password of etcd's user goes over the network in plain text/),
    expect.stringMatching(/keep a dead host's locks from expiring/),
  ];
  expect(await messages('--store', 'etcd://e1.lab:2379', ...login)).toEqual(network);
  await chmod(file, 0o640);
  const readable = expect.stringMatching(new RegExp(`^the file ${file} .*chmod 600 ${file}$`));
  expect(await messages('--store', 'etcd://e1.lab:2379', ...login)).toEqual([...network, readable]);
  expect(await messages('--store', 'etcd://127.0.0.1:2379', ...login)).toEqual([readable]);
});
