// Containers that try to hide from the sentinel write while their hosts are cut off; another host gets
// their volumes. Engines, etcd, control groups and the 8 s TTL are real. Only orders are asserted.

import { readFile, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import { dockerTools } from '../../support/tools.ts';
import type { Cluster, EngineNode } from '../hosts/cluster.ts';
import { startCluster } from '../hosts/cluster.ts';
import { startClockWriter } from './clock-writer.ts';

const kinds = ['b1', 'b2', 'b3', 'b4', 'chroot'] as const;
type Kind = (typeof kinds)[number];

/** A container that starts as a victim, and the writers of which lines must not be late. */
interface Evader {
  readonly node: EngineNode;
  readonly kind: Kind | 'cp';
  readonly volume: string;
  readonly writers: readonly string[];
}

/** Appends a line with a number, the time since boot and the writer's name, every 20 ms. */
const loop = (name: string, file: string) =>
  `n=0; while read t _ < /proc/uptime && echo $n $t ${name} >> ${file}; do n=$((n+1)); usleep 20000; done`;

describeWith(
  ['docker', 'etcd'],
  'containers that hide, on hosts whose volumes went to another',
  () => {
    let cluster: Cluster;
    const evaders: Evader[] = [];
    const logOf = ({ volume }: Evader) => join(cluster.volumeDir, 'directory', volume, 'data/log');
    /** Returns who wrote each line. */
    const writersOf = async (evader: Evader) => {
      const log = await readFile(logOf(evader), 'utf8').catch(() => '');
      return log
        .split('\n')
        .slice(0, -1)
        .map((line) => line.split(' ')[2] ?? line);
    };
    /** The size of the file that the engine unpacks, when the next host had the volume. */
    const sizesAtFirst = new Map<string, number>();
    const sizeOf = async ({ volume }: Evader) => {
      const file = join(cluster.volumeDir, 'directory', volume, 'data/zeros');
      return (await stat(file).catch(() => undefined))?.size ?? 0;
    };
    const takerOf = ({ volume }: Evader) => `n3-${volume}`;

    beforeAll(async () => {
      cluster = await startCluster({
        engines: ['26.1', '20.10', '26.1'],
        berth: { ttl: '8s', lockTimeout: '40s' },
      });
      const [one, two, taker] = cluster.nodes;
      if (!one || !two || !taker) throw new Error('the cluster has three nodes');
      for (const node of [one, two]) {
        for (const kind of kinds) evaders.push(await start(node, kind));
      }
      evaders.push(await startCopying(two));
      for (const evader of evaders) {
        for (const name of evader.writers) await untilItWrites(evader, name);
        if (evader.kind !== 'cp') continue;
        await waitFor(async () => (await sizeOf(evader)) > 0, 10_000, 'the engine to copy');
      }
      await Promise.all([one, two].map(({ host }) => host.disconnect()));
      await Promise.all(
        evaders.map(async (evader) => {
          const { volume } = evader;
          const name = takerOf(evader);
          await startClockWriter(taker, { name, volume, log: logOf(evader) });
          sizesAtFirst.set(volume, await sizeOf(evader));
        }),
      );
      // Whoever was not found writes on, also when its host is back and has unmounted the volume.
      await Promise.all([one, two].map(({ host }) => host.reconnect()));
      for (const { node, volume } of evaders) await node.waitUntilUnmounted(volume, 30_000);
      await delay(2_000);
    });
    afterAll(async () => cluster?.[Symbol.asyncDispose]());

    async function untilItWrites(evader: Evader, name: string): Promise<void> {
      const hasWritten = async () => (await writersOf(evader)).includes(name);
      await waitFor(hasWritten, 10_000, `${name} to write`);
    }

    test('fault 4: an archive that the engine unpacks grows no more once another host has the volume', async () => {
      for (const evader of evaders.filter(({ kind }) => kind === 'cp')) {
        const before = sizesAtFirst.get(evader.volume);
        expect(before).toBeGreaterThan(0);
        expect(await sizeOf(evader)).toBe(before);
      }
    });

    test.each([
      ['B1: a container whose destination ends like the mountpoint', 'b1'],
      ['B2: two containers below a control group that is named like a container', 'b2'],
      ["B3: a container that writes through /proc in another one's PID namespace", 'b3'],
      ['B4: a container whose process took the mount to a namespace of its own', 'b4'],
      ['a container whose only process has its root inside the volume', 'chroot'],
    ] as const)('%s: no line of the old host after the first of the new one', async (_, kind) => {
      for (const evader of evaders.filter((each) => each.kind === kind)) {
        const writers = await writersOf(evader);
        const first = writers.indexOf(takerOf(evader));
        expect(first).toBeGreaterThan(0);
        for (const name of evader.writers) {
          expect(writers.slice(0, first)).toContain(name);
          expect(writers.slice(first).filter((writer) => writer === name)).toEqual([]);
        }
      }
    });
  },
);

async function start(node: EngineNode, kind: Kind): Promise<Evader> {
  const volume = `v-${kind}-${node.name}`;
  await node.create(volume, {});
  const run = (name: string, flags: readonly string[], script: string) =>
    runScript(node, name, flags, script);
  const evader = (...writers: string[]): Evader => ({ node, kind, volume, writers });
  const name = `${kind}-${node.name}`;
  switch (kind) {
    case 'b1': {
      const target = `/any${node.mountpoint(volume)}`;
      await run(name, ['-v', `${volume}:${target}`], loop(name, `${target}/log`));
      return evader(name);
    }
    case 'b2': {
      const parent = `/${basename(node.host.directory)}/${'ab'.repeat(32)}`;
      const names = [name, `${name}-too`];
      for (const each of names) {
        const flags = ['--cgroup-parent', parent, '-v', `${volume}:/data`];
        await run(each, flags, loop(each, '/data/log'));
      }
      return evader(...names);
    }
    case 'b3':
      await run(`${name}-db`, ['-v', `${volume}:/data`], 'exec sleep 1000');
      await run(name, [`--pid=container:${name}-db`], loop(name, '/proc/1/root/data/log'));
      return evader(name);
    case 'b4': {
      const script = `unshare -m sh -c '${loop(name, '/data/log')}' & sleep 1
        umount /data; exec sleep 1000`;
      await run(name, ['--cap-add', 'SYS_ADMIN', '-v', `${volume}:/data`], script);
      return evader(name);
    }
    case 'chroot': {
      // It has no clock there: only the order of its lines is known.
      const script = `mkdir -p /data/jail/bin; cp /bin/busybox /data/jail/bin/sh
        for each in usleep chroot; do ln -f /data/jail/bin/sh /data/jail/bin/$each; done
        touch /data/log; ln -f /data/log /data/jail/log
        n=0; echo 'while echo $n 0 ${name} >> /log; do n=$((n+1)); usleep 20000; done' > /data/jail/loop
        exec chroot /data/jail /bin/sh -c 'n=0; . /loop'`;
      await run(name, ['-v', `${volume}:/data`], script);
      return evader(name);
    }
  }
}

/**
 * Starts to copy an archive into a container. The engine unpacks it in a process of its own; newer
 * engines do so in a thread, which can be stopped but not killed: their sentinel waits for a restart.
 */
async function startCopying(node: EngineNode): Promise<Evader> {
  const [volume, name] = [`v-cp-${node.name}`, `cp-${node.name}`];
  await node.create(volume, {});
  await runScript(node, name, ['-v', `${volume}:/data`], 'exec sleep 1000');
  const script = `mkfifo /run/slow; head -c 99000000 /dev/zero > /run/zeros
    { tar -C /run -cf - zeros | while head -c 100000; do sleep 0.1; done; } > /run/slow 2> /run/error &
    exec "$0" --host unix://${node.host.dockerSocket} cp - ${name}:/data < /run/slow`;
  node.host.spawn('sh', ['-c', script, dockerTools('20.10').docker]);
  return { node, kind: 'cp', volume, writers: [] };
}

function runScript(node: EngineNode, name: string, flags: readonly string[], script: string) {
  const all = ['-d', '--name', name, '--stop-timeout', '0', ...flags];
  return node.dockerOk('run', ...all, 'busybox', 'sh', '-c', script);
}
