import { readFile } from 'node:fs/promises';
import { request } from 'node:http';
import { text } from 'node:stream/consumers';
import { z } from 'zod';
import type { SentinelReport } from '../../../sentinel/watch.ts';
import { reportSchema } from '../../../sentinel/watch.ts';
import type { EngineNode } from '../hosts/cluster.ts';

/** Returns the report of the host's sentinel; rejects when none answers. */
export async function sentinelReport({ host }: EngineNode): Promise<SentinelReport> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const socketPath = host.pathOf('/run/berth/admin.sock.sentinel');
  const signal = AbortSignal.timeout(1_000);
  const call = request({ socketPath, path: '/report', signal, agent: false }, (response) => {
    text(response).then(resolve, reject);
  });
  call.on('error', reject);
  call.end();
  return reportSchema.parse(JSON.parse(await promise));
}

export async function sentinelPid(node: EngineNode): Promise<number> {
  return (await sentinelReport(node)).pid;
}

const stateSchema = z.object({
  watch: z.object({
    volumes: z.array(z.object({ volume: z.string(), deadlineMs: z.number().optional() })),
  }),
  guards: z.record(z.string(), z.object({ isStill: z.boolean() })),
});

/** Returns the state that the sentinel has written down for its successor. */
export async function sentinelState({ host }: EngineNode) {
  const path = host.pathOf('/run/berth/admin.sock.sentinel.state');
  return stateSchema.parse(JSON.parse(await readFile(path, 'utf8')));
}

/** Returns the time, by `bootNowMs`, at which the host must have stopped writing to the volume. */
export async function deadlineOf(node: EngineNode, volume: string): Promise<number> {
  const { watch } = await sentinelState(node);
  const deadlineMs = watch.volumes.find((watched) => watched.volume === volume)?.deadlineMs;
  if (deadlineMs === undefined) throw new Error(`volume ${volume} has no deadline`);
  return deadlineMs;
}

export async function isStill(node: EngineNode, volume: string): Promise<boolean> {
  return (await sentinelState(node)).guards[volume]?.isStill === true;
}
