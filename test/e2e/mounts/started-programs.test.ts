// The daemon's own process starts no program for any operation: a fork stops its only thread. A real daemon, in
// which a preload notes each program that it starts; its worker and its sentinel are its only children.
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { startBenchDaemon } from '../../../bench/daemon.ts';
import { startEtcd } from '../../support/etcd-server.ts';
import { describeWith } from '../../support/requirements.ts';
import { makeTemporaryDirectory } from '../../support/temporary-directory.ts';

const preload = join(import.meta.dirname, '../../support/started-programs.mjs');

describeWith(['root', 'loop', 'etcd'], 'programs of the daemon', () => {
  test('no operation, of either driver, starts a program from the daemon itself', async () => {
    await using etcd = await startEtcd();
    await using directory = await makeTemporaryDirectory();
    const file = join(directory.path, 'started');
    await writeFile(file, '');
    const own = ['unshare', '--mount', '--propagation', 'slave'];
    const under = [...own, 'env', `STARTED_PROGRAMS=${file}`, `NODE_OPTIONS=--import=${preload}`];
    await using daemon = await startBenchDaemon(etcd.url, { under });
    const call = (endpoint: string, body: object) => daemon.call(`VolumeDriver.${endpoint}`, body);
    const use = (Name: string) => ({ Name, ID: Name.padEnd(64, 'a') });
    const all = [
      ['directory', {}],
      ['image', { size: '32M' }],
    ] as const;

    for (const [driver, options] of all) {
      await call('Create', { Name: driver, Opts: { driver, ...options } });
      await call('Mount', use(driver));
      await call('Snapshot', { Name: driver, Snapshot: 'monday' });
      await call('Copy', { Name: driver, Snapshot: 'monday', Target: `${driver}-copy` });
      await call('Get', { Name: driver });
      await call('List', {});
      await daemon.admin('GET', `v1/volumes/${driver}`);
    }
    await daemon.restart(); // It takes its mounts over.
    for (const [driver] of all) {
      await call('Unmount', use(driver));
      await daemon.admin('POST', `v1/volumes/${driver}/snapshots/monday/restore`);
      await daemon.admin('DELETE', `v1/volumes/${driver}/snapshots/monday`);
      for (const Name of [driver, `${driver}-copy`]) await call('Remove', { Name });
    }
    await daemon.admin('GET', 'v1/doctor');

    const started = (await readFile(file, 'utf8')).split('\n').filter((line) => line !== '');
    const expected = /\/(lib\/volumes\/worker|sentinel)\/main\.ts /;
    expect(started.filter((line) => !expected.test(line))).toEqual([]);
    // The record is complete: each daemon starts its worker, and the first one a sentinel.
    expect(started.filter((line) => line.includes('/worker/main.ts '))).toHaveLength(2);
    expect(started.filter((line) => line.includes('/sentinel/main.ts '))).toHaveLength(1);
  });
});
