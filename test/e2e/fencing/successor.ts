import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Cluster, EngineNode } from '../hosts/cluster.ts';
import { startClockWriter } from './clock-writer.ts';

/** Returns where the test reads what a `directory` volume's writers have written. */
export function logOf({ volumeDir }: Cluster, volume: string): string {
  return join(volumeDir, 'directory', volume, 'data/log');
}

/**
 * Lets a container on another host write to the volume for a while, as soon as that host gets its
 * lock. Returns the lines that others wrote after its first: there must be none.
 */
export async function linesBesideSuccessor(
  cluster: Cluster,
  node: EngineNode,
  volume: string,
): Promise<string[]> {
  const name = `successor-${volume}`;
  const log = logOf(cluster, volume);
  await startClockWriter(node, { name, volume, log });
  await sleep(2_000);
  // The file's order tells who wrote first: it needs no clock.
  const lines = (await readFile(log, 'utf8')).split('\n').filter(Boolean);
  const first = lines.findIndex((line) => line.endsWith(` ${name}`));
  return lines.slice(first).filter((line) => !line.endsWith(` ${name}`));
}
