import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { startEtcd } from '../test/support/etcd-server.ts';
import { runOk } from '../test/support/processes.ts';
import { makeTemporaryDirectory } from '../test/support/temporary-directory.ts';
import { startBenchDaemon } from './daemon.ts';
import { printFigures, quantile, timed } from './statistics.ts';

const rounds = 20;
const cyclesPerRound = 3;
const size = '64M';

/**
 * Measures a Mount and an Unmount of the driver `image` against the programs that a person would run for
 * the same, in rounds that alternate.
 */
export async function benchImageMount(): Promise<number> {
  await using etcd = await startEtcd({ onDisk: true });
  const onEtcd = await onStore('etcd', etcd.url);
  return onEtcd + (await onStore('embedded', 'embedded'));
}

async function onStore(name: string, store: string): Promise<number> {
  await using daemon = await startBenchDaemon(store);
  await using bare = await bareImage();
  const volume = { Name: 'db', ID: 'a'.repeat(64) };
  await daemon.call('VolumeDriver.Create', { Name: 'db', Opts: { driver: 'image', size } });
  const works = {
    mount: () => daemon.call('VolumeDriver.Mount', volume),
    unmount: () => daemon.call('VolumeDriver.Unmount', volume),
    attach: bare.attach,
    bareMount: bare.mount,
    bareUnmount: bare.unmount,
    detach: bare.detach,
  };
  type Work = keyof typeof works;
  const order = Object.keys(works) as Work[];
  const all: Record<Work, number[]> = {
    ...{ mount: [], unmount: [], attach: [], bareMount: [], bareUnmount: [], detach: [] },
  };
  for (let round = -1; round < rounds; round += 1) {
    for (const pair of [order.slice(0, 2), order.slice(2)]) {
      for (let i = 0; i < cyclesPerRound; i += 1) {
        for (const work of pair) {
          const ms = await timed(works[work]);
          if (round >= 0) all[work].push(ms); // The first round warms both up.
        }
      }
    }
  }
  const p50 = (work: Work) => quantile(all[work], 0.5);
  const ms = (what: string, work: Work) => ({ what, value: p50(work), unit: 'ms' });
  const ratio = (what: string, work: Work, bareWorks: readonly Work[]) => {
    const floor = bareWorks.map(p50).reduce((sum, each) => sum + each, 0);
    return { what, value: p50(work) / floor, unit: '×', limit: 2 };
  };
  return printFigures(`An image on ${name}, ${all.mount.length} cycles, p50`, [
    ms('Mount', 'mount'),
    ms('Unmount', 'unmount'),
    ms('losetup --find', 'attach'),
    ms('mount', 'bareMount'),
    ms('umount', 'bareUnmount'),
    ms('losetup --detach', 'detach'),
    ratio('Mount against losetup and mount', 'mount', ['attach', 'bareMount']),
    ratio('Unmount against umount and losetup', 'unmount', ['bareUnmount', 'detach']),
  ]);
}

/** An image of the same size with the same file system, mounted by programs. */
async function bareImage() {
  await using stack = new AsyncDisposableStack();
  const { path } = stack.use(await makeTemporaryDirectory());
  const [image, at] = [join(path, 'bare.img'), join(path, 'at')];
  await mkdir(at);
  await runOk('truncate', ['--size', size, image]);
  await runOk('mkfs.ext4', ['-q', '-F', '-b', '4096', '-m', '0', image]);
  let device = '';
  const attach = async () => {
    device = (await runOk('losetup', ['--find', '--show', image])).trim();
  };
  const running = stack.move();
  return {
    attach,
    mount: () => runOk('mount', ['-t', 'ext4', '-o', 'discard', device, at]),
    unmount: () => runOk('umount', [at]),
    detach: () => runOk('losetup', ['--detach', device]),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}
