// A whole machine is frozen past its TTL while it writes to an image, and goes on after its successor has
// mounted it: a guest with a kernel of its own (User Mode Linux) that is stopped as a process. Its daemon,
// its sentinel and its page cache go on with it. The successor is a host of namespaces; etcd is real; the
// pool is a local xfs with reflinks that the guest sees as a file server's. One pass of each case, or
// TEST_FROZEN_ROUNDS of them.

import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import type { Berth, BerthOptions } from '../../support/berth.ts';
import { startBerth } from '../../support/berth.ts';
import type { Etcd } from '../../support/etcd-server.ts';
import { startEtcd } from '../../support/etcd-server.ts';
import { makeFileSystem } from '../../support/loop-fs.ts';
import type { Network } from '../../support/network.ts';
import { startNetwork } from '../../support/network.ts';
import type { RunningProcess } from '../../support/processes.ts';
import { runOk, waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import type { UmlHost } from '../../support/uml-host.ts';
import { startUmlHost } from '../../support/uml-host.ts';
import type { BareNode } from '../hosts/bare-cluster.ts';
import { startBareHost } from '../hosts/bare-host.ts';
import { callInGuest } from '../hosts/guest-calls.ts';
import { startNode } from '../hosts/node.ts';

const rounds = Number(process.env.TEST_FROZEN_ROUNDS ?? 1);
jest.setTimeout(200_000 + rounds * 120_000);

const id = 'a'.repeat(64);
const ttl = '10s';
const cutMs = 10_000;

interface Case {
  readonly what: string;
  readonly clockCounts: boolean;
  readonly cutMs: number;
}

const cases: readonly Case[] = [
  { what: 'its clock has not, and its network is cut for 10 s more', clockCounts: false, cutMs },
  { what: 'its clock has counted the pause', clockCounts: true, cutMs: 0 },
  { what: 'its clock has not counted the pause', clockCounts: false, cutMs: 0 },
];

/** Appends numbered lines, each on the disk before the next. */
const writer = (path: string) =>
  `i=0; while :; do i=$((i+1)); echo "guest $i." >> ${path} && sync ${path} || exit; echo $i; done`;

describeWith(['uml', 'gcc', 'etcd', 'loop'], 'a machine that is frozen as a whole', () => {
  let stack: AsyncDisposableStack;
  let network: Network;
  let etcd: Etcd;
  let options: BerthOptions & { readonly volumeDir: string };
  let guest: UmlHost;
  let two: BareNode;
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

  async function joinAs(name: string, how: BerthOptions): Promise<BareNode> {
    const host = stack.use(await startBareHost(name, network));
    return { ...stack.use(await startNode(host, how)), host };
  }

  const claims = () => etcd.ctlOk('get', '--prefix', '--keys-only', '/berth/records/claims/');

  test('reaches nothing of what its successor sees of an image when it goes on', async () => {
    for (let round = 1; round <= rounds; round += 1) {
      for (const [index, each] of cases.entries()) {
        const startedAt = performance.now();
        // The events of an earlier volume of the same name would be taken for this one's.
        const volume = `v${round}-${index}`;
        const late = await passOf(each, volume, options.volumeDir, guest, two);
        await waitFor(async () => (await claims()) === '', 30_000, 'the guest to end its mount');
        await two.ok('Remove', { Name: volume });
        const seconds = Math.round((performance.now() - startedAt) / 1_000);
        const what = `${each.what}: ${late} late lines went aside (${seconds} s)`;
        process.stderr.write(`round ${round}: ${what}\n`);
      }
    }
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
    await two.create('db');
    await callInGuest(guest, ['Mount', { Name: 'db', ID: id }]);
    await using _writing = await startWriter(guest, 'db');
    const file = join(two.mountpoint('db'), 'lines');
    const { pid } = guest;
    await writeFile(fence, `#!/bin/sh\nkill -KILL ${pid} 2>&1 && sleep 1 && ! kill -0 ${pid}\n`);
    await guest.freeze();
    await two.ok('Mount', { Name: 'db', ID: id });
    await waitFor(() => !existsSync(`/proc/${pid}`), 5_000, 'the end of the machine');
    const before = await two.host.execOk('cat', file);
    await two.host.execOk('sh', '-c', `echo successor. >> ${file} && sync ${file}`);
    expect(await two.host.execOk('cat', file)).toBe(`${before}\nsuccessor.`);
    await two.ok('Unmount', { Name: 'db', ID: id });
    await guest.cutPower();
    await guest.boot();
    await startBerth(guest, options);
    await waitFor(async () => !(await claims()).includes('/db/'), 30_000, 'the end of its claim');
    await callInGuest(guest, ['Mount', { Name: 'db', ID: id }]);
  });
});

async function startWriter(guest: UmlHost, volume: string): Promise<RunningProcess> {
  const path = `${guest.directory}/berth/mounts/${volume}/lines`;
  const writing = guest.spawn('sh', ['-c', writer(path)]);
  await waitFor(() => writing.output().split('\n').length > 5, 30_000, 'the first lines');
  return writing;
}

/** Returns how many lines the guest wrote after its successor had mounted the volume. */
async function passOf(
  { clockCounts, cutMs: forMs }: Case,
  volume: string,
  volumeDir: string,
  guest: UmlHost,
  two: BareNode,
): Promise<number> {
  await two.create(volume, { driver: 'image', size: '32M', fencing: 'storage' });
  await callInGuest(guest, ['Mount', { Name: volume, ID: id }]);
  await using _writing = await startWriter(guest, volume);
  const file = join(two.mountpoint(volume), 'lines');
  await guest.freeze();
  try {
    await two.ok('Mount', { Name: volume, ID: id });
    await two.host.execOk('sh', '-c', `echo successor first. >> ${file} && sync ${file}`);
    if (forMs > 0) await guest.disconnect();
  } finally {
    await guest.thaw({ clockCounts });
  }
  const before = await two.host.execOk('cat', file);
  if (forMs > 0) {
    await delay(forMs);
    await guest.reconnect();
  }
  const aside = await putAside(two, volume);
  expect(await two.host.execOk('cat', file)).toBe(before);
  await two.host.execOk('sh', '-c', `echo successor last. >> ${file} && sync ${file}`);
  await two.ok('Unmount', { Name: volume, ID: id });
  await two.ok('Mount', { Name: volume, ID: id });
  expect(await two.host.execOk('cat', file)).toBe(`${before}\nsuccessor last.`);
  await two.ok('Unmount', { Name: volume, ID: id });

  const lines = before.split('\n');
  expect(lines.at(-1)).toBe('successor first.');
  const last = lines.length - 1;
  const image = join(volumeDir, 'image', volume, 'volume.img');
  await runOk('e2fsck', ['-fn', image]);
  const late = (text: string) =>
    [...text.matchAll(/guest (\d+)\./g)].filter(([, number]) => Number(number) > last).length;
  expect(late(await readFile(image, 'latin1'))).toBe(0);
  return aside === undefined ? 0 : late(await readFile(aside, 'latin1'));
}

/**
 * Waits until the guest has let go; returns the path of what it wrote aside, which the successor reports.
 * Undefined: it wrote nothing, and the file is deleted.
 */
async function putAside({ daemon }: BareNode, volume: string): Promise<string | undefined> {
  const report = async () => {
    const output = await daemon.berthOk('events', '--volume', volume, '--json');
    const { events } = JSON.parse(output) as {
      events: { kind: string; severity: string; message: string }[];
    };
    return events.findLast(({ kind }) => kind === 'aside');
  };
  await waitFor(async () => (await report()) !== undefined, 60_000, 'the guest to end its mount');
  return /in (\/\S+\.img);/.exec((await report())?.message ?? '')?.[1];
}
