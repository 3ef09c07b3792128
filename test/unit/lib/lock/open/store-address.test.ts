// The addresses of stores: what each says, and what a person reads who mistyped one.
import { expect, test } from '@jest/globals';
import { etcdSettings } from '../../../../../lib/lock/open/etcd-settings.ts';
import { loadedFrom, MissingPackageError } from '../../../../../lib/lock/open/missing-package.ts';
import { parseStoreAddress } from '../../../../../lib/lock/open/store-address.ts';

const noFiles = { ca: undefined, cert: undefined, key: undefined };

test('an address of etcd has members, and perhaps a prefix, a login and certificates', () => {
  expect(parseStoreAddress('etcd://n1')).toEqual({
    kind: 'etcd',
    endpoints: ['n1:2379'],
    prefix: '/berth-locks',
    isSecure: false,
    auth: undefined,
    files: noFiles,
  });
  const all = 'etcds://me:p%40ss:w@n1:1,[fd00::1]:2,10.0.0.3/apps/one?ca=/etc/ca.pem&key=k';
  expect(parseStoreAddress(all)).toEqual({
    kind: 'etcd',
    endpoints: ['n1:1', '[fd00::1]:2', '10.0.0.3:2379'],
    prefix: '/apps/one',
    isSecure: true,
    auth: { user: 'me', password: 'p@ss:w' },
    files: { ca: '/etc/ca.pem', cert: undefined, key: 'k' },
  });
});

test('an address of PostgreSQL keeps all parameters but the schema', () => {
  const url = 'postgres://me:pw@db/x?sslmode=verify-full&schema=my%20locks&host=/run';
  expect(parseStoreAddress(url)).toEqual({
    kind: 'postgres',
    url: 'postgres://me:pw@db/x?sslmode=verify-full&host=/run',
    schema: 'my locks',
  });
  expect(parseStoreAddress('postgresql://db?schema=a')).toMatchObject({ url: 'postgresql://db' });
});

test('a file has the scheme sqlite, or is a path', () => {
  const paths = { 'sqlite:a.db': 'a.db', 'sqlite:///a/b': '/a/b', './a': './a', 'a.db': 'a.db' };
  for (const [text, path] of Object.entries({ ...paths, '/a': '/a', 'sqlite:/a': '/a' })) {
    expect(parseStoreAddress(text)).toEqual({ kind: 'sqlite', path });
  }
  expect(parseStoreAddress('memory:')).toEqual({ kind: 'memory' });
  expect(parseStoreAddress('kubernetes:shop/deploys')).toEqual({
    kind: 'kubernetes',
    namespace: 'shop',
    name: 'deploys',
  });
  expect(() => parseStoreAddress('kubernetes:Shop')).toThrow(/kubernetes:NAMESPACE\/NAME/);
});

test('a wrong address is refused with the forms that exist, and without the password', () => {
  const wrong = {
    'redis://n1': /there is no store redis:; use etcd:/,
    etcd: /a file has a path, such as/,
    'etcd:n1': /the members of etcd are missing/,
    'etcd://': /the members of etcd are missing/,
    'etcd://n1:0': /n1:0 is no host:port/,
    'etcd://n1,n 2': /n 2 is no host:port/,
    'etcd://me:secret@n1:x': /n1:x is no host:port/,
    'etcd://secret@n1': /user:password@/,
    'etcd://me:secret%@n1': /the password has a % that begins no escape/,
    'etcd://n1?ca=x': /ca= is no parameter of etcd:/,
    'etcds://n1?cafile=x': /cafile= is no parameter of etcds:/,
    'sqlite:': /the path of the file is missing/,
    'sqlite::memory:': /the path of the file is missing/,
    'memory:x': /memory: takes nothing after it/,
  };
  for (const [text, message] of Object.entries(wrong)) {
    const parse = () => parseStoreAddress(text);
    expect(parse).toThrow(RangeError);
    expect(parse).toThrow(message);
    expect(parse).not.toThrow(/secret/);
  }
});

test('the options of an Etcd3 are those of a client of etcd', () => {
  const client = { getAll: () => undefined, lease: () => undefined };
  const ca = Buffer.from('ca');
  const options = {
    hosts: ['https://n1:1/', 'n2'],
    auth: { username: 'me', password: 'pw' },
    credentials: { rootCertificate: ca },
  };
  expect(etcdSettings({ ...client, options } as typeof client)).toEqual({
    endpoints: ['n1:1', 'n2:2379'],
    auth: { user: 'me', password: 'pw' },
    tls: { ca, cert: undefined, key: undefined },
  });
  expect(etcdSettings({ ...client, options: { hosts: 'n1:5' } } as typeof client)).toEqual({
    endpoints: ['n1:5'],
  });
  expect(() => etcdSettings(client)).toThrow(/does not show its settings/);
});

test('a missing package is named with the command that installs it, and no other failure is', async () => {
  const failing = (code: string, text: string) => () =>
    Promise.reject(Object.assign(new Error(text), { code }));
  const load = (code: string, text: string) =>
    loadedFrom(failing(code, text), 'etcd', ['etcd3', '@grpc/grpc-js']).catch((error) => error);
  for (const code of ['ERR_MODULE_NOT_FOUND', 'MODULE_NOT_FOUND']) {
    const error = await load(code, "Cannot find package '@grpc/grpc-js' imported from /x");
    expect(error).toBeInstanceOf(MissingPackageError);
    expect(error.message).toBe(
      'locks on etcd need the package @grpc/grpc-js; install it: npm install etcd3 @grpc/grpc-js',
    );
  }
  const inner = await load('MODULE_NOT_FOUND', "Cannot find module 'etcd3/lib/pool.js'");
  expect(inner).toBeInstanceOf(MissingPackageError);
  expect(await load('MODULE_NOT_FOUND', "Cannot find module './x.js'")).toMatchObject({
    message: "Cannot find module './x.js'",
  });
  expect(await load('EACCES', "no right to read 'etcd3'")).toMatchObject({ code: 'EACCES' });
});
