import { startEtcd } from '../test/support/etcd-server.ts';
import { startBenchDaemon } from './daemon.ts';
import { printFigures } from './statistics.ts';

/** Counts the writes to the store of each operation, by the store's own revision. */
export async function benchStoreWrites(): Promise<number> {
  await using etcd = await startEtcd({ onDisk: true });
  await using daemon = await startBenchDaemon(etcd.url);
  const mount = { Name: 'db', ID: 'a'.repeat(64) };
  const second = { Name: 'db', ID: 'b'.repeat(64) };
  const operations: readonly [string, string, object, number][] = [
    ['Create', 'VolumeDriver.Create', { Name: 'db', Opts: {} }, 2],
    ['Create of an existing one', 'VolumeDriver.Create', { Name: 'db', Opts: {} }, 0],
    ['Mount', 'VolumeDriver.Mount', mount, 1],
    ['Mount for a second container', 'VolumeDriver.Mount', second, 0],
    ['Get', 'VolumeDriver.Get', { Name: 'db' }, 0],
    ['List', 'VolumeDriver.List', {}, 0],
    ['Path', 'VolumeDriver.Path', { Name: 'db' }, 0],
    ['Snapshot', 'VolumeDriver.Snapshot', { Name: 'db', Snapshot: 's1' }, 2],
    ['Copy', 'VolumeDriver.Copy', { Name: 'db', Target: 'copy' }, 2],
    ['Unmount of the second container', 'VolumeDriver.Unmount', second, 0],
    ['Unmount', 'VolumeDriver.Unmount', mount, 1],
    ['Unmount when not mounted', 'VolumeDriver.Unmount', mount, 0],
    ['Remove', 'VolumeDriver.Remove', { Name: 'copy' }, 2],
  ];
  const figures = [];
  for (const [what, endpoint, body, limit] of operations) {
    const before = await etcd.revision();
    await daemon.call(endpoint, body);
    figures.push({ what, value: (await etcd.revision()) - before, unit: 'writes', limit });
  }
  return printFigures('Store writes per operation', figures);
}
