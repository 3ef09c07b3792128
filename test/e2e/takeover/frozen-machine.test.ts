// A whole machine is frozen past its TTL while it writes to an image, and goes on after its successor has
// mounted it: a guest with a kernel of its own (User Mode Linux) that is stopped as a process. Its daemon,
// its sentinel and its page cache go on with it. The successor is a host of namespaces; etcd is real; the
// pool is a local xfs with reflinks that the guest sees as a file server's. One pass of each case, or
// TEST_FROZEN_ROUNDS of them.

import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import type { Berth, BerthOptions } from '../../support/berth.ts';
import { startBerth } from '../../support/berth.ts';
import type { Etcd } from '../../support/etcd-server.ts';
import { startEtcd } from '../../support/etcd-server.ts';
import { makeFileSystem } from '../../support/loop-fs.ts';
import type { Network } from '../../support/network.ts';
import { startNetwork } from '../../support/network.ts';
import { runOk, waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import type { UmlHost } from '../../support/uml-host.ts';
import { startUmlHost } from '../../support/uml-host.ts';
import type { BareNode } from '../hosts/bare-cluster.ts';
import { startBareHost } from '../hosts/bare-host.ts';
import type { Call } from '../hosts/guest-calls.ts';
import { callInGuest } from '../hosts/guest-calls.ts';
import { startNode } from '../hosts/node.ts';
import type { Successor } from './frozen-writer.ts';
import { id, linesOf, passAll, rounds, startWriter } from './frozen-writer.ts';

jest.setTimeout(200_000 + rounds * 120_000);

const ttl = '10s';

describeWith(['uml', 'gcc', 'etcd', 'loop'], 'a machine that is frozen as a whole', () => {
  let stack: AsyncDisposableStack;
  let network: Network;
  let etcd: Etcd;
  let options: BerthOptions & { readonly volumeDir: string };
  let guest: UmlHost;
  let two: BareNode & Successor;
  let guestBerth: Berth;
  /** The fence command of the successor. */
  let fence: string;

  beforeAll(async () => {
    stack = new AsyncDisposableStack();
    const pool = stack.use(await makeFileSystem('xfs', 2_000));
    await runOk('mount', ['--make-shared', pool.path]);
    network = stack.use(await startNetwork());
    etcd = stack.use(await startEtcd({ in: network }));
    fence = join(pool.path, 'fence');
    await writeFile(fence, '#!/bin/sh\nexit 1\n', { mode: 0o755 });
    const volumeDir = join(pool.path, 'volumes');
    options = { store: etcd.url, volumeDir, ttl, lockTimeout: '45s' };
    guest = stack.use(
      await startUmlHost({ network, name: 'frozen', shared: [pool.path], canFreeze: true }),
    );
    const flags = ['--fence-host-processes', 'yes'];
    [two, guestBerth] = await Promise.all([
      joinAs('n2', { ...options, flags: ['--fence-command', fence] }),
      startBerth(guest, { ...options, flags }),
    ]);
  });

  afterAll(async () => {
    await stack.disposeAsync();
  });

  async function joinAs(name: string, how: BerthOptions): Promise<BareNode & Successor> {
    const host = stack.use(await startBareHost(name, network));
    const node = stack.use(await startNode(host, how));
    const calls = async (...all: readonly Call[]) => {
      for (const [method, body] of all) await node.ok(method, body);
    };
    return { ...node, host, calls, directory: host.directory, execOk: host.execOk };
  }

  const claims = () => etcd.ctlOk('get', '--prefix', '--keys-only', '/berth/records/claims/');

  test('reaches nothing of what its successor sees of an image when it goes on', async () => {
    const pool = {
      volumeDir: options.volumeDir,
      execOk: (command: string, ...args: string[]) => runOk(command, args),
    };
    await passAll(pool, guest, two, claims);
  });

  test('grows a mounted ext4, for which this machine may lack a capability', async () => {
    await callInGuest(guest, ['Create', { Name: 'grown', Opts: { driver: 'image', size: '32M' } }]);
    await callInGuest(guest, ['Mount', { Name: 'grown', ID: id }]);
    await guestBerth.berthOk('volume', 'resize', 'grown', '96M');
    const mountpoint = `${guest.directory}/berth/mounts/grown`;
    const { stdout } = await guest.exec('df', ['-m', '--output=size', mountpoint]);
    expect(Number(stdout.trim().split('\n').at(-1))).toBeGreaterThan(70);
    // A guest on a busy machine may have to prove its lock again first.
    const unmounted = async () => {
      await callInGuest(guest, ['Unmount', { Name: 'grown', ID: id }]);
      return true;
    };
    await waitFor(unmounted, 20_000, 'the unmount');
    await callInGuest(guest, ['Remove', { Name: 'grown' }]);
  });

  test('is ended by the fence command before its successor mounts a directory', async () => {
    const three = await joinAs('n3', options);
    await three.create('plain');
    await three.ok('Mount', { Name: 'plain', ID: id });
    expect(await three.daemon.berthOk('status')).toContain(
      'fencing of plain: a host that may have lost it stops by itself; a machine that was frozen as a ' +
        'whole and goes on is not kept from writing',
    );
    await three.daemon.stop();
    for (let round = 1; round <= rounds; round += 1) {
      await fencedPass(`db${round}`);
      process.stderr.write(`round ${round}: the fence command ended the machine\n`);
    }
  });

  async function fencedPass(volume: string): Promise<void> {
    const use = { Name: volume, ID: id };
    await two.create(volume);
    await callInGuest(guest, ['Mount', use]);
    await using _writing = await startWriter(guest, volume);
    const file = linesOf(two, volume);
    const { pid } = guest;
    await writeFile(fence, `#!/bin/sh\nkill -KILL ${pid} 2>&1 && sleep 1 && ! kill -0 ${pid}\n`);
    await guest.freeze();
    await two.ok('Mount', use);
    await waitFor(() => !existsSync(`/proc/${pid}`), 5_000, 'the end of the machine');
    const before = await two.execOk('cat', file);
    await two.execOk('sh', '-c', `echo successor. >> ${file} && sync ${file}`);
    expect(await two.execOk('cat', file)).toBe(`${before}\nsuccessor.`);
    await two.ok('Unmount', use);
    await guest.cutPower();
    await guest.boot();
    await startBerth(guest, options);
    await waitFor(
      async () => !(await claims()).includes(`/${volume}/`),
      30_000,
      'the end of its claim',
    );
    // A guest that has just booted, on a busy machine, may lose its lock once more.
    const mountsAgain = async () => {
      await callInGuest(guest, ['Mount', use], ['Unmount', use]);
      return true;
    };
    await waitFor(mountsAgain, 60_000, 'the Mount after the boot');
    expect(
      await two.host.execOk('cat', join(options.volumeDir, 'directory', volume, 'data/lines')),
    ).toBe(`${before}\nsuccessor.`);
    await two.ok('Remove', { Name: volume });
  }
});
