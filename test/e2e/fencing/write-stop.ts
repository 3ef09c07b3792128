import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { bootNowMs } from '../../../lib/linux/boot.ts';
import { waitFor } from '../../support/processes.ts';
import type { Cluster, EngineNode } from '../hosts/cluster.ts';
import { startClockWriter } from './clock-writer.ts';
import type { TicketWatch } from './ticket-watch.ts';

/** A fault that keeps a host from renewing its locks, and how to end it. */
export interface Fault {
  begin(node: EngineNode): Promise<void>;
  end(node: EngineNode): Promise<void>;
}

export const faults = {
  'the host is cut off': {
    begin: ({ host }) => host.disconnect(),
    end: ({ host }) => host.reconnect(),
  },
  'the daemon is frozen': {
    begin: async ({ daemon }) => daemon.process.kill('SIGSTOP'),
    end: async ({ daemon }) => daemon.process.kill('SIGCONT'),
  },
  'the daemon is killed': {
    begin: ({ daemon }) => daemon.kill(),
    end: ({ daemon }) => daemon.start(),
  },
  'the daemon and the engine are frozen': {
    begin: async ({ daemon, host }) => {
      process.kill(host.enginePid, 'SIGSTOP');
      daemon.process.kill('SIGSTOP');
    },
    end: async ({ daemon, host }) => {
      process.kill(host.enginePid, 'SIGCONT');
      daemon.process.kill('SIGCONT');
    },
  },
  'the engine is killed and the host is cut off': {
    begin: async ({ host }) => {
      await host.killEngine('SIGKILL');
      await host.disconnect();
    },
    end: async ({ host }) => {
      await host.reconnect();
      await host.startEngine();
    },
  },
} satisfies Record<string, Fault>;

export interface WriteStop {
  /** Milliseconds from the last write until the store could grant the lock to another host. */
  readonly marginMs: number;
  /** The number of writes from then until the fault ended. */
  readonly lateWrites: number;
}

/** Exposes a host to a fault for longer than the TTL, while a container writes. */
export async function writeStop(
  { volumeDir }: Cluster,
  tickets: TicketWatch,
  node: EngineNode,
  volume: string,
  { begin, end }: Fault,
): Promise<WriteStop> {
  await node.create(volume, { driver: 'directory' });
  const log = join(volumeDir, 'directory', volume, 'data/log');
  const name = `writes-${volume}`;
  const writer = await startClockWriter(node, { name, volume, everyMs: 5, log });
  const beganMs = bootNowMs();
  await begin(node);
  const goneAtMs = await tickets.waitUntilGone(volume, beganMs, 20_000);
  const marginMs = goneAtMs - (await writer.lastWriteMs());
  await sleep(300);
  const lateWrites = (await writer.times()).filter((time) => time >= goneAtMs).length;
  await end(node);
  // The container was killed, or it writes again after the lock was re-acquired.
  const isOver = async () =>
    (await writer.lastWriteMs()) > goneAtMs || (await writer.state()) === 'exited';
  await waitFor(isOver, 20_000, `the outcome for ${name}`);
  await node.down(name);
  return { marginMs, lateWrites };
}
