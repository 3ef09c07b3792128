// Containers that try to hide from the sentinel write while their hosts are cut off; another host gets
// their volumes. Engines, etcd, both versions of control groups and the 8 s TTL are real. Only orders are
// asserted.

import { readFile, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { isAlive } from '../../support/host-processes.ts';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import { dockerTools } from '../../support/tools.ts';
import type { Cluster, EngineNode } from '../hosts/cluster.ts';
import { startCluster } from '../hosts/cluster.ts';
import { startClockWriter } from './clock-writer.ts';
import { eventsOf } from './events.ts';

const kinds = ['path', 'parent', 'proc', 'unshare', 'chroot'] as const;
type Kind = (typeof kinds)[number];

/** A container that starts as a victim, and the writers of which lines must not be late. */
interface Evader {
  readonly node: EngineNode;
  readonly kind: Kind | 'cp';
  readonly volume: string;
  readonly writers: readonly string[];
}

/** Appends a line with a number, the time since boot and the writer's name, every 100 ms. */
const loop = (name: string, file: string) =>
  `n=0; while read t _ < /proc/uptime && echo $n $t ${name} >> ${file}; do n=$((n+1)); usleep 100000; done`;
/** The same where there is no clock: only the order of its lines is known. It has no file open. */
const loopWithoutClock = (name: string, file: string) =>
  `n=0; while echo $n 0 ${name} >> ${file}; do n=$((n+1)); usleep 100000; done`;

describeWith(
  ['docker', 'etcd'],
  'containers that hide, on hosts whose volumes went to another',
  () => {
    let cluster: Cluster;
    const evaders: Evader[] = [];
    /** Lists those of which the volume was not unmounted after its host was back. */
    const stillMounted = new Set<Evader>();
    const monitors = new Map<EngineNode | undefined, number>();
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
    const takerOf = ({ volume }: Evader) => `taker-${volume}`;

    beforeAll(async () => {
      cluster = await startCluster({
        engines: [
          { docker: '20.10', controlGroups: 1 },
          { docker: '26.1', controlGroups: 2 },
          '26.1',
        ],
        berth: { ttl: '8s', lockTimeout: '40s' },
      });
      const taker = cluster.nodes.at(-1);
      if (!taker) throw new Error('the cluster has nodes');
      const victims = cluster.nodes.slice(0, -1);
      // The first volume marks the pool: two hosts at once would each find the other's mark missing.
      await taker.create('first');
      const started = await Promise.all(
        victims.map(async (node) => {
          const all: Evader[] = [];
          for (const kind of kinds) all.push(await start(node, kind));
          // After the volumes were mounted, so that it sees them.
          await runScript(node, 'monitor', monitorFlags(node), 'exec sleep 1000');
          monitors.set(
            node,
            Number(await node.dockerOk('inspect', '-f', '{{.State.Pid}}', 'monitor')),
          );
          all.push(await startCopying(node));
          return all;
        }),
      );
      evaders.push(...started.flat());
      for (const evader of evaders) {
        for (const name of evader.writers) await untilItWrites(evader, name);
        if (evader.kind !== 'cp') continue;
        await waitFor(async () => (await sizeOf(evader)) > 0, 10_000, 'the engine to copy');
      }
      await Promise.all(victims.map(({ host }) => host.disconnect()));
      await Promise.all(
        evaders.map(async (evader) => {
          const { volume } = evader;
          const name = takerOf(evader);
          await startClockWriter(taker, { name, volume, log: logOf(evader), everyMs: 100 });
          sizesAtFirst.set(volume, await sizeOf(evader));
        }),
      );
      // Whoever was not found writes on, also when its host is back and has unmounted the volume.
      await Promise.all(victims.map(({ host }) => host.reconnect()));
      const ends = evaders.filter(({ kind }) => kind !== 'cp');
      await Promise.all(
        ends.map(async (evader) => {
          const ending = evader.node.waitUntilUnmounted(evader.volume, 30_000);
          // The test of each says whose volume stays mounted.
          await ending.catch(() => stillMounted.add(evader));
        }),
      );
      await delay(2_000);
    });
    afterAll(async () => cluster?.[Symbol.asyncDispose]());

    async function untilItWrites(evader: Evader, name: string): Promise<void> {
      const hasWritten = async () => (await writersOf(evader)).includes(name);
      await waitFor(hasWritten, 10_000, `${name} to write`);
    }

    const hosts = [
      { docker: '20.10', controlGroups: 1, index: 0 },
      { docker: '26.1', controlGroups: 2, index: 1 },
    ] as const;
    const evadersOn = (index: number, kind: Kind | 'cp') =>
      evaders.filter((each) => each.node === cluster.nodes[index] && each.kind === kind);

    describe.each(hosts)('Docker $docker, control groups v$controlGroups', ({ docker, index }) => {
      test('a monitor that sees the whole host is neither paused nor killed', async () => {
        const node = cluster.nodes[index];
        expect(await isAlive(monitors.get(node) ?? 0)).toBe(true);
        const events = (await node?.daemon.berthOk('events')) ?? '';
        expect(events).toMatch(/ v-path-\S+ +paused container /);
        expect(events).not.toMatch(/container monitor/);
      });

      test('an archive that the engine unpacks grows no more once another host has the volume', async () => {
        for (const evader of evadersOn(index, 'cp')) {
          const before = sizesAtFirst.get(evader.volume);
          expect(before).toBeGreaterThan(0);
          expect(await sizeOf(evader)).toBe(before);
        }
      });

      test('the volume that an engine unpacked to is unmounted, at the latest after its restart', async () => {
        const [evader] = evadersOn(index, 'cp');
        if (!evader) throw new Error('the engine copies');
        const { node, volume } = evader;
        if (docker === '26.1') {
          // It copies in a thread: nothing but its end ends that.
          const says = /the engine copies to it .*dockerd \(pid \d+\): restart the engine/;
          expect((await node.daemon.berth('status')).stdout).toMatch(says);
          expect(await eventsOf(node, volume)).toContainEqual(expect.stringMatching(says));
          await node.host.killEngine();
          await node.host.startEngine();
        }
        await node.waitUntilUnmounted(volume, 30_000);
      });

      test.each([
        ['a container whose destination ends like the mountpoint', 'path'],
        ['two containers below a control group that is named like a container', 'parent'],
        ["a container that writes through /proc in another one's PID namespace", 'proc'],
        ['a container whose process took the mount to a namespace of its own', 'unshare'],
        ['a container whose only process has its root inside the volume', 'chroot'],
      ] as const)('%s: no line of the old host after the first of the new one', async (_, kind) => {
        expect(evadersOn(index, kind)).toHaveLength(1);
        for (const evader of evadersOn(index, kind)) {
          const writers = await writersOf(evader);
          const first = writers.indexOf(takerOf(evader));
          expect(first).toBeGreaterThan(0);
          for (const name of evader.writers) {
            expect(writers.slice(0, first)).toContain(name);
            expect(writers.slice(first).filter((writer) => writer === name)).toEqual([]);
          }
          expect(stillMounted.has(evader)).toBe(false);
        }
      });
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
    case 'path': {
      const target = `/any${node.mountpoint(volume)}`;
      await run(name, ['-v', `${volume}:${target}`], loop(name, `${target}/log`));
      return evader(name);
    }
    case 'parent': {
      const parent = `/${basename(node.host.directory)}/${'ab'.repeat(32)}`;
      const names = [name, `${name}-too`];
      for (const each of names) {
        const flags = ['--cgroup-parent', parent, '-v', `${volume}:/data`];
        await run(each, flags, loop(each, '/data/log'));
      }
      return evader(...names);
    }
    case 'proc':
      await run(`${name}-db`, ['-v', `${volume}:/data`], 'exec sleep 1000');
      await run(name, [`--pid=container:${name}-db`], loop(name, '/proc/1/root/data/log'));
      return evader(name);
    case 'unshare': {
      const script = `unshare -m sh -c '${loop(name, '/data/log')}' & sleep 1
        umount /data; exec sleep 1000`;
      await run(name, ['--cap-add', 'SYS_ADMIN', '-v', `${volume}:/data`], script);
      return evader(name);
    }
    case 'chroot': {
      const script = `mkdir -p /data/jail/bin; cp /bin/busybox /data/jail/bin/sh
        for each in usleep chroot; do ln -f /data/jail/bin/sh /data/jail/bin/$each; done
        touch /data/log; ln -f /data/log /data/jail/log
        exec chroot /data/jail /bin/sh -c '${loopWithoutClock(name, '/log')}'`;
      await run(name, ['-v', `${volume}:/data`], script);
      return evader(name);
    }
  }
}

/** Views of the host as monitors and backup agents have them: all of it, and a part at another path. */
function monitorFlags({ host }: EngineNode): string[] {
  return ['-v', '/:/rootfs:ro', '-v', `${host.directory}:/hostlib:ro`];
}

/**
 * Starts to copy an archive into a container. The engine unpacks it in a process of its own; newer
 * engines do so in a thread, which can be stopped but not killed: its volume stays mounted until the
 * engine restarts.
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
