// Two daemons of one machine, whose kernel has the loop devices of both, share a pool: one undoes an interrupted
// Mount while the other has the volume mounted and writes. Real daemons and etcd, no Docker engine.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import type { BareNode } from '../hosts/bare-cluster.ts';
import { startBareCluster } from '../hosts/bare-cluster.ts';
import { blockProgram } from '../hosts/block-program.ts';

const mountId = 'e'.repeat(64);
const Name = 'db';

/** Appends numbers to a file, each synced before it is printed, until that fails. */
const writerScript = `
  while n=$((n + 1)); do echo $n >> "$1" && sync "$1" && echo $n || exit 1; done`;

function startWriter({ host, mountpoint }: BareNode) {
  const file = join(mountpoint(Name), 'log');
  const process = host.spawn('sh', ['-c', writerScript, 'sh', file]);
  const acknowledged = () => process.output().split('\n').filter(Boolean);
  const goesOn = async () => {
    const before = acknowledged().length;
    const isFurther = () => process.hasExited || acknowledged().length > before + 20;
    await waitFor(isFurther, 10_000, 'the writer');
    expect(process.hasExited ? process.output() : '').toBe('');
  };
  return { process, acknowledged, goesOn };
}

async function kindsOf(node: BareNode): Promise<string[]> {
  return (await node.events()).map(({ kind }) => kind);
}

describeWith(['root', 'loop', 'etcd'], 'two daemons of one machine that share a pool', () => {
  test('one that undoes its interrupted Mount ends nothing of the other, which has the volume mounted and writes', async () => {
    await using cluster = await startBareCluster();
    const options = { driver: 'image', ttl: '5s', lockTimeout: '40s' } as const;
    const [n1, n2] = [await cluster.join('n1', options), await cluster.join('n2', options)];
    await n1.create(Name, { size: '64M' });
    const { began, release } = await blockProgram(n1.host, 'mount');
    n1.begin('Mount', { Name, ID: mountId });
    await began();
    await n1.daemon.kill();
    await release('kill');

    await n2.ok('Mount', { Name, ID: mountId });
    const writer = startWriter(n2);
    await writer.goesOn();
    await n1.daemon.start();
    const isSettled = async () => writer.process.hasExited || (await n1.table()).length === 0;
    await waitFor(isSettled, 10_000, 'the interrupted Mount to be undone');
    await writer.goesOn();
    await n1.waitUntilUnmounted(Name);
    expect(await kindsOf(n1)).toContain('dropped');

    await writer.process.stop();
    const acknowledged = writer.acknowledged();
    await n2.ok('Unmount', { Name, ID: mountId });
    await n1.ok('Mount', { Name, ID: mountId });
    const log = await readFile(n1.host.pathOf(join(n1.mountpoint(Name), 'log')), 'utf8');
    expect(log.split('\n').slice(0, acknowledged.length)).toEqual(acknowledged);
    await n1.ok('Unmount', { Name, ID: mountId });
  });
});
