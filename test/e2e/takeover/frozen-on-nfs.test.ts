// A machine is frozen past its TTL while it writes to an image on a file server, and goes on after its successor
// has mounted it. Three machines with kernels of their own (User Mode Linux): the server, whose kernel serves an
// xfs with reflinks by NFS 4.2, and two hosts with berth, whose pool is there.

import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import type { Berth } from '../../support/berth.ts';
import { startBerth } from '../../support/berth.ts';
import type { Etcd } from '../../support/etcd-server.ts';
import { startEtcd } from '../../support/etcd-server.ts';
import { startNetwork } from '../../support/network.ts';
import { startNfsServer } from '../../support/nfs-server.ts';
import { describeWith } from '../../support/requirements.ts';
import type { UmlHost } from '../../support/uml-host.ts';
import { startUmlHost } from '../../support/uml-host.ts';
import { callInGuest } from '../hosts/guest-calls.ts';
import type { SharedPool, Successor } from './frozen-writer.ts';
import { frozenCases, id, linesOf, passAll, rounds } from './frozen-writer.ts';

const sizes: Readonly<Record<string, object>> = { image: { size: '32M' } };

jest.setTimeout(300_000 + rounds * 240_000);

describeWith(['uml', 'gcc', 'etcd', 'loop'], 'a frozen machine whose volumes are on NFS', () => {
  let stack: AsyncDisposableStack;
  let etcd: Etcd;
  let frozen: UmlHost;
  let daemons: { readonly frozen: Berth; readonly successor: Berth };
  let two: Successor;
  let pool: SharedPool;

  beforeAll(async () => {
    stack = new AsyncDisposableStack();
    const network = stack.use(await startNetwork());
    etcd = stack.use(await startEtcd({ in: network }));
    const boot = async (name: string) =>
      stack.use(await startUmlHost({ network, name, canFreeze: name === 'frozen' }));
    const server = await boot('server');
    frozen = await boot('frozen');
    const successor = await boot('successor');
    const nfs = await startNfsServer(server, '/srv/pool', [frozen, successor]);
    const options = {
      store: etcd.url,
      volumeDir: '/srv/pool/volumes',
      ttl: '10s',
      lockTimeout: '45s',
    };
    const join = async (host: UmlHost, flags: readonly string[]): Promise<Berth> => {
      await nfs.mountOn(host, '/srv/pool');
      return startBerth(host, { ...options, flags });
    };
    daemons = {
      frozen: await join(frozen, ['--fence-host-processes', 'yes']),
      successor: await join(successor, []),
    };
    const { directory, execOk } = successor;
    two = {
      ...{ directory, execOk },
      events: async (volume) =>
        JSON.parse(await daemons.successor.berthOk('events', '--volume', volume, '--json')).events,
      calls: (...calls) => callInGuest(successor, ...calls),
    };
    pool = { volumeDir: '/srv/pool/volumes', execOk: server.execOk };
  });

  afterAll(async () => {
    await stack.disposeAsync();
  });

  // Before the machine is frozen: its memory of the server's names is what this is about.
  test('sees at once what another host has made of a volume', async () => {
    for (const driver of ['directory', 'image']) {
      const [volume, Name] = [{ Name: driver, Opts: { driver, ...sizes[driver] } }, driver];
      const write = (text: string, { directory }: { directory: string }) =>
        [...['sh', '-c', `echo ${text} > ${directory}/berth/mounts/${driver}/text`]] as const;
      await two.calls(['Create', volume]);
      await callInGuest(frozen, ['Mount', { Name, ID: id }]);
      await frozen.execOk(...write('old', frozen));
      await callInGuest(frozen, ['Unmount', { Name, ID: id }]);
      await two.calls(['Remove', { Name }], ['Create', volume], ['Mount', { Name, ID: id }]);
      await two.execOk(...write('new', two));
      await two.calls(['Unmount', { Name, ID: id }]);
      await callInGuest(frozen, ['Mount', { Name, ID: id }]);
      expect(await frozen.execOk('cat', linesOf(frozen, driver).replace(/lines$/, 'text'))).toBe(
        'new',
      );
      await callInGuest(frozen, ['Unmount', { Name, ID: id }], ['Remove', { Name }]);
    }
  });

  test('replaces no snapshot of the volume that had the name before', async () => {
    const volume = { Name: 'db', Opts: { driver: 'directory' } };
    await two.calls(['Create', volume]);
    await daemons.frozen.berthOk('snapshot', 'create', 'db@monday');
    await daemons.successor.berthOk('volume', 'rename', 'db', 'old');
    await two.calls(['Create', volume]);
    // It deletes an interrupted snapshot of that name first.
    await daemons.frozen.berthOk('snapshot', 'create', 'db@monday');
    const snapshots = (name: string) => `${pool.volumeDir}/directory/${name}/snapshots`;
    expect(await pool.execOk('ls', snapshots('old'), snapshots('db'))).toBe(
      `${snapshots('db')}:\nmonday\n\n${snapshots('old')}:\nmonday`,
    );
  });

  test('reaches nothing of what its successor sees of an image when it goes on', async () => {
    const claims = () => etcd.ctlOk('get', '--prefix', '--keys-only', '/berth/records/claims/');
    // Each takes most of a minute: all of them only when rounds are asked for.
    const cases =
      process.env.TEST_FROZEN_ROUNDS === undefined ? frozenCases.slice(-1) : frozenCases;
    await passAll(pool, frozen, two, claims, cases);
  });
});
