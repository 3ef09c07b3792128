import { readFile } from 'node:fs/promises';
import { request } from 'node:http';
import { join } from 'node:path';
import { z } from 'zod';
import type { EventReply, EventsReply, StatusReply } from '../../../plugin/admin/api/status.ts';
import { readAdmin } from '../../support/admin-call.ts';
import type { Berth, BerthHost, BerthOptions } from '../../support/berth.ts';
import { startBerth } from '../../support/berth.ts';
import type { Host } from '../../support/host.ts';
import { callPlugin } from '../../support/plugin-call.ts';
import { waitFor } from '../../support/processes.ts';
import type { StoredMount } from '../../support/stored-mounts.ts';
import { storedMounts } from '../../support/stored-mounts.ts';

const answerSchema = z.object({
  Err: z.string().default(''),
  Mountpoint: z.string().optional(),
  Volumes: z.array(z.object({ Name: z.string() }).loose()).default([]),
  Volume: z
    .object({ Status: z.record(z.string(), z.unknown()) })
    .loose()
    .optional(),
});

/** The plugin's answer; `Err` is empty on success. */
export type NodeAnswer = z.infer<typeof answerSchema>;

/** A host with its berth daemon, observed through the plugin's socket and the kernel. */
export interface Node extends AsyncDisposable {
  readonly name: string;
  readonly daemon: Berth;
  /** Calls `Create`, `Mount` and so on as the engine does. */
  call(method: string, body?: object): Promise<NodeAnswer>;
  /** Makes a call that must succeed. */
  ok(method: string, body?: object): Promise<NodeAnswer>;
  /** Returns what `berth status --json` prints, without the start of a process. */
  status(): Promise<StatusReply>;
  /** Returns what `berth events --json` prints: the events of one volume, or all; oldest first. */
  events(volume?: string): Promise<readonly EventReply[]>;
  /** Sends a call without waiting for the answer. */
  begin(method: string, body: object): { leave(): void };
  create(name: string, options?: Readonly<Record<string, string>>): Promise<NodeAnswer>;
  mountpoint(volume: string): string;
  /** Returns the number of mounts stacked at the volume's mountpoint. */
  mountCount(volume: string): Promise<number>;
  /** Returns the rows of the daemon's mount table, which its next start reads. */
  table(): Promise<StoredMount[]>;
  /** Waits until the volume is neither mounted nor in the mount table. */
  waitUntilUnmounted(volume: string, limitMs?: number): Promise<void>;
}

export async function startNode(
  host: BerthHost & Pick<Host, 'pathOf' | 'mountInfo'>,
  options: BerthOptions = {},
): Promise<Node> {
  const daemon = await startBerth(host, options);
  const socket = host.pathOf(options.socket ?? '/run/docker/plugins/berth.sock');
  const adminSocket = host.pathOf('/run/berth/admin.sock');
  const stateDir = join(host.directory, 'berth');
  const mountpoint = (volume: string) => join(stateDir, 'mounts', volume);

  async function call(method: string, body: object = {}): Promise<NodeAnswer> {
    const answer = await callPlugin(socket, `VolumeDriver.${method}`, body);
    return answerSchema.parse(answer.body);
  }
  async function ok(method: string, body?: object): Promise<NodeAnswer> {
    const answer = await call(method, body);
    if (answer.Err !== '') throw new Error(`${host.name}: ${method}: ${answer.Err}`);
    return answer;
  }
  async function table(): Promise<StoredMount[]> {
    return storedMounts(await readFile(join(stateDir, 'mounts.json'), 'utf8'));
  }
  async function mountCount(volume: string): Promise<number> {
    const path = mountpoint(volume);
    const table = await host.mountInfo();
    return table.split('\n').filter((line) => line.split(' ')[4] === path).length;
  }

  return {
    name: host.name,
    daemon,
    call,
    ok,
    status: async () => (await readAdmin(adminSocket, '/status')) as StatusReply,
    events: async (volume) => {
      const { events } = (await readAdmin(adminSocket, '/events')) as EventsReply;
      return events.filter((event) => volume === undefined || event.volume === volume);
    },
    begin: (method, body) => {
      const path = `/VolumeDriver.${method}`;
      const outgoing = request({ socketPath: socket, path, method: 'POST', agent: false });
      outgoing.on('response', (response) => response.resume());
      outgoing.on('error', () => {
        // The test or the end of the daemon closed the connection.
      });
      outgoing.end(JSON.stringify(body));
      return { leave: () => outgoing.destroy() };
    },
    create: (name, options) => ok('Create', { Name: name, Opts: options ?? null }),
    mountpoint,
    mountCount,
    table,
    waitUntilUnmounted: async (volume, limitMs = 10_000) => {
      const isGone = async () =>
        (await mountCount(volume)) === 0 && (await table()).every((row) => row.volume !== volume);
      await waitFor(isGone, limitMs, `${volume} to be unmounted on ${host.name}`);
    },
    [Symbol.asyncDispose]: () => daemon[Symbol.asyncDispose](),
  };
}
