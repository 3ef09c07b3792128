// A volume with its own file system on storage that is too slow to freeze it in time. Real engine,
// etcd and file systems; the disk is throttled by control groups (version 1 only).
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { bootNowMs } from '../../../lib/linux/boot.ts';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import { makeSlowDisk } from '../../support/slow-disk.ts';
import { startCluster } from '../hosts/cluster.ts';
import { eventsOf } from './events.ts';
import { sentinelReport } from './sentinel-process.ts';
import { watchTickets } from './ticket-watch.ts';

describeWith(['docker', 'etcd', 'throttle'], 'storage that is slow', () => {
  test('a file system that is not frozen in time is shut down before another host may have it', async () => {
    await using disk = await makeSlowDisk(512);
    await using cluster = await startCluster({
      ...{ engines: ['26.1'], berth: { ttl: '20s' }, volumeDir: disk.path },
    });
    await using tickets = await watchTickets(cluster);
    const [node] = cluster.nodes;
    if (!node) throw new Error('there is no host');
    await node.create('db', { driver: 'image', size: '256M' });
    const writer = 'while dd if=/dev/zero of=/data/big bs=1M count=100 conv=notrunc; do :; done';
    await node.dockerOk(
      'run',
      '-d',
      '--name',
      'writer',
      '-v',
      'db:/data',
      'busybox',
      'sh',
      '-c',
      writer,
    );
    await disk.limitKernel(100_000);
    // Now a freeze would take minutes: it has to write everything back.
    await sleep(3_000);
    const beganMs = bootNowMs();
    await node.host.disconnect();
    await tickets.waitUntilGone('db', beganMs, 60_000);
    const report = await sentinelReport(node);
    expect(report.watched?.db?.fs).toBe('cut-off');
    const write = await node.host.exec('sh', ['-c', `echo late > ${node.mountpoint('db')}/late`]);
    expect(write.stderr).toMatch(/Input\/output error/);
    await disk.limitKernel(undefined);
    await node.host.reconnect();
    const events = await waitFor(
      async () => {
        const all = (await eventsOf(node, 'db')).join('\n');
        return /^killed:/m.test(all) ? all : undefined;
      },
      20_000,
      'the container to be killed',
    );
    expect(events).toMatch(/^failed: .* was shut down.* \d+ ms AFTER the deadline/m);
    expect(events).not.toMatch(/was frozen/);
  });
});
