import { readFile } from 'node:fs/promises';
import { get } from 'node:http';
import { join } from 'node:path';
import { json } from 'node:stream/consumers';
import { z } from 'zod';
import { startBerth } from '../test/support/berth.ts';
import { startEtcd } from '../test/support/etcd-server.ts';
import type { Host } from '../test/support/host.ts';
import { startHost } from '../test/support/host.ts';
import { startNetwork } from '../test/support/network.ts';
import { makeTemporaryDirectory } from '../test/support/temporary-directory.ts';

export interface Cast extends AsyncDisposable {
  readonly n1: Player;
  readonly n2: Player;
  /** The lines in the volume, each a number and the host that wrote it. */
  lines(): Promise<readonly Line[]>;
}

export interface Line {
  readonly number: number;
  readonly host: string;
}

/** A host with Docker and berth. */
export interface Player {
  readonly host: Host;
  /**
   * Returns the engine's state of the container (running, paused, exited), or undefined if there is
   * none.
   */
  container(): Promise<string | undefined>;
  /** Returns the holder of the volume's lock, as this host's berth sees it. */
  holder(): Promise<Holder | undefined>;
  /** Returns the events that this host's berth recorded. */
  events(): Promise<readonly string[]>;
}

export interface Holder {
  readonly host: string;
  readonly token: number;
}

export const volume = 'db';
export const container = 'writer';

/**
 * Starts three etcd members, two hosts on one network, and a directory that both see like an NFS
 * share.
 */
export async function gather(ttlSeconds: number): Promise<Cast> {
  await using stack = new AsyncDisposableStack();
  const volumeDir = stack.use(await makeTemporaryDirectory()).path;
  const network = stack.use(await startNetwork());
  const starting = [
    startEtcd({ in: network, members: 3 }),
    startHost({ network, name: 'n1' }),
    startHost({ network, name: 'n2' }),
  ] as const;
  // Wait for all, even if one fails: whatever has started must be on the stack before it unwinds.
  for (const each of await Promise.allSettled(starting)) {
    if (each.status === 'fulfilled') stack.use(each.value);
  }
  const [etcd, ...hosts] = await Promise.all(starting);
  const play = async (host: Host, lockTimeout: string): Promise<Player> => {
    const options = { store: etcd.url, volumeDir, ttl: `${ttlSeconds}s`, lockTimeout };
    stack.use(await startBerth(host, options));
    return playerOn(host);
  };
  const n1 = await play(hosts[0], '2s');
  const n2 = await play(hosts[1], '45s');
  const owned = stack.move();
  return {
    n1,
    n2,
    lines: async () => {
      const path = join(volumeDir, 'directory', volume, 'data/lines');
      const text = await readFile(path, 'utf8').catch(() => '');
      return text
        .split('\n')
        .slice(0, -1)
        .map((line) => line.split(' '))
        .map(([number, host = '']) => ({ number: Number(number), host }));
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

function playerOn(host: Host): Player {
  const admin = host.pathOf('/run/berth/admin.sock');
  return {
    host,
    container: async () => {
      // From the list, because the engine answers no call about a container that waits for its
      // volume.
      const answer = await ask(host.dockerSocket, '/containers/json?all=1');
      return containersSchema.parse(answer).find(({ Names }) => Names.includes(`/${container}`))
        ?.State;
    },
    holder: async () => {
      const { tickets } = locksSchema.parse(await ask(admin, `/v1/locks/${volume}`));
      return tickets.find(({ state }) => state === 'held');
    },
    events: async () => {
      const { events } = eventsSchema.parse(await ask(admin, '/v1/events'));
      return events.map(({ message }) => message);
    },
  };
}

const containersSchema = z.array(z.object({ Names: z.array(z.string()), State: z.string() }));
const locksSchema = z.object({
  tickets: z
    .array(z.object({ state: z.string(), host: z.string(), token: z.number() }))
    .default([]),
});
const eventsSchema = z.object({ events: z.array(z.object({ message: z.string() })).default([]) });

function ask(socketPath: string, path: string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const request = get({ socketPath, path, timeout: 10_000, agent: false }, (response) =>
      json(response).then(resolve, reject),
    );
    request.on('timeout', () => request.destroy(new Error(`no answer to ${path}`)));
    request.on('error', reject);
  });
}
