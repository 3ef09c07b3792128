// A host with its own kernel (User Mode Linux) loses power: unflushed writes are lost and the boot
// ID changes. etcd and the second host, with Docker, are real, and so is the embedded store of a single
// host; time is real, with a TTL of 10 s.

import { expect, jest, test } from '@jest/globals';
import type { BerthOptions } from '../../support/berth.ts';
import { startBerth } from '../../support/berth.ts';
import { startEtcd } from '../../support/etcd-server.ts';
import { eventually } from '../../support/eventually.ts';
import { startHost } from '../../support/host.ts';
import { startNetwork } from '../../support/network.ts';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import { etcdView } from '../../support/store-view.ts';
import { storedMounts } from '../../support/stored-mounts.ts';
import { makeTemporaryDirectory } from '../../support/temporary-directory.ts';
import type { UmlHost } from '../../support/uml-host.ts';
import { startUmlHost } from '../../support/uml-host.ts';
import { mountedOn } from '../hosts/bare-cluster.ts';
import { startEngineNode } from '../hosts/cluster.ts';
import type { Call } from '../hosts/guest-calls.ts';
import { callInGuest } from '../hosts/guest-calls.ts';

// The guest is about ten times slower than the machine.
jest.setTimeout(400_000);

const ttlMs = 10_000;

/**
 * Prints each number only after it is on the disk. The first line is never flushed: ext4 would take
 * seconds.
 */
const appendFlushedLines = `
  echo never flushed > /data/unflushed
  i=0; while :; do i=$((i+1)); echo $i >> /data/lines && sync /data/lines && echo $i; sleep 0.1; done`;

describeWith(['uml', 'etcd'], 'a host that loses its power', () => {
  test('scenario 35, when a host dies, when a dead host comes back: another host gets the flushed data and keeps it', async () => {
    await using stack = new AsyncDisposableStack();
    const network = stack.use(await startNetwork());
    const etcd = stack.use(await startEtcd({ in: network }));
    const volumeDir = stack.use(await makeTemporaryDirectory()).path;
    const options = { store: etcd.url, volumeDir, ttl: `${ttlMs / 1_000}s` };
    const [guest, host] = await Promise.all([
      startUmlHost({ network, name: 'cut', shared: [volumeDir] }).then((each) => stack.use(each)),
      startHost({ network, name: 'other' }).then((each) => stack.use(each)),
    ]);
    const other = stack.use(await startEngineNode(host, options));
    await startGuest(guest, options);
    const image = ['-o', 'driver=image', '-o', 'size=32M'];
    await guest.dockerOk('volume', 'create', '-d', 'berth', ...image, 'db');

    const inGuest = ['run', '--rm', '-v', 'db:/data', 'busybox'];
    const writer = guest.spawnDocker(...inGuest, 'sh', '-c', appendFlushedLines);
    const lines = () => writer.output().split('\n').slice(0, -1);
    await waitFor(() => lines().length >= 5, 60_000, 'some lines');

    const cutAt = Date.now();
    await guest.cutPower();
    const found = await other.shell('db', 'cat /data/lines; echo other >> /data/lines');
    expect(found.split('\n').slice(0, lines().length)).toEqual(lines());
    const waitedMs = grantedAt(other.daemon.log()) - cutAt;
    process.stderr.write(`${lines().length} lines; waited ${waitedMs} ms for the volume\n`);
    // The other host waited for the rest of the last renewal's TTL, and for no second one.
    expect(waitedMs).toBeLessThan(2 * ttlMs);
    expect(waitedMs).toBeGreaterThan(ttlMs / 4);
    expect((await other.up('user', 'db')).code).toBe(0);
    // This had only been in the guest's memory, so its absence proves the power cut.
    expect(await other.dockerOk('exec', 'user', 'cat', '/data/unflushed')).toBe('');

    await guest.boot();
    // A call that has to wait for a TTL fails.
    await startBerth(guest, { ...options, lockTimeout: '1s' });
    await eventually(async () => expect(await mountTable(guest)).toEqual([]));
    expect(await etcdView(etcd).locks()).toEqual(['mount/db']);
    const mount: Call = ['Mount', { Name: 'db', ID: 'after' }];
    await expect(callInGuest(guest, mount)).rejects.toThrow(mountedOn('other'));
    await other.dockerOk('exec', 'user', 'sh', '-c', 'echo still here >> /data/lines');

    await other.down('user');
    await other.waitUntilUnmounted('db');
    await callInGuest(guest, mount);
    const file = `${guest.directory}/berth/mounts/db/lines`;
    expect(await guest.execOk('tail', '-n', '1', file)).toBe('still here');
  });

  test('when a host reboots: its earlier locks end with their session, and its mounts are forgotten', async () => {
    await using network = await startNetwork();
    await using etcd = await startEtcd({ in: network });
    await using guest = await startUmlHost({ network, name: 'alone' });
    const options = { store: etcd.url, ttl: '20s', lockTimeout: '0s' };
    await startBerth(guest, options);
    await callInGuest(
      guest,
      ...['first', 'second'].flatMap((Name): Call[] => [
        ['Create', { Name }],
        ['Mount', { Name, ID: 'before' }],
      ]),
    );
    const view = etcdView(etcd);
    await guest.cutPower();
    expect(await view.locks()).toEqual(['mount/first', 'mount/second']);

    await guest.boot();
    await startBerth(guest, options);
    // Another machine may be the original of this one, and renew the session: it is not resumed.
    const areGone = async () => (await view.locks()).length === 0;
    await waitFor(areGone, 60_000, 'the session of the earlier boot to expire');
    await eventually(async () => expect(await mountTable(guest)).toEqual([]));
    await callInGuest(
      guest,
      ['Mount', { Name: 'first', ID: 'after' }],
      ['Remove', { Name: 'second' }],
    );
    expect(await view.locks()).toEqual(['mount/first']);
  });

  test('what the embedded store has answered is on the disk', async () => {
    await using network = await startNetwork();
    await using guest = await startUmlHost({ network, name: 'single' });
    await startBerth(guest);
    const names = ['first', 'second', 'third'];
    await callInGuest(guest, ...names.map((Name): Call => ['Create', { Name }]));
    await guest.cutPower();

    await guest.boot();
    await startBerth(guest);
    // The last Create syncs its directory before it writes the record, and nothing after that.
    await callInGuest(guest, ...names.map((Name): Call => ['Mount', { Name, ID: 'after' }]));
  });
});

/**
 * Starts the daemon before the engine, which waits for the plugins of the volumes that it knows.
 */
async function startGuest(guest: UmlHost, options: BerthOptions): Promise<void> {
  await startBerth(guest, options);
  await guest.startEngine();
}

/** Returns when the daemon first got the lock, according to its log. */
function grantedAt(log: string): number {
  const line = log.split('\n').find((each) => each.includes('granted mount/db '));
  return Date.parse(line?.split(' ')[0] ?? '');
}

async function mountTable(guest: UmlHost): Promise<unknown> {
  // The output is trimmed, and a line without its end counts as torn.
  return storedMounts(`${await guest.execOk('cat', `${guest.directory}/berth/mounts.json`)}\n`);
}
