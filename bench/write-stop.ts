import { watchTickets } from '../test/e2e/fencing/ticket-watch.ts';
import type { Fault } from '../test/e2e/fencing/write-stop.ts';
import { faults, writeStop } from '../test/e2e/fencing/write-stop.ts';
import type { EngineNode } from '../test/e2e/hosts/cluster.ts';
import { startCluster } from '../test/e2e/hosts/cluster.ts';
import { printFigures, quantile } from './statistics.ts';

const ttl = '5s';
const runs = 20;
const names = ['the host is cut off', 'the daemon is frozen', 'the daemon is killed'] as const;

/**
 * Measures the time from the last write of a host that can't renew its lock until another host can
 * get it.
 */
export async function benchWriteStop(): Promise<number> {
  await using cluster = await startCluster({
    engines: ['26.1', '20.10', '26.1'],
    berth: { ttl },
  });
  await using tickets = await watchTickets(cluster);
  const margins = async (node: EngineNode, fault: Fault): Promise<number[]> => {
    const found: number[] = [];
    for (let run = 0; run < runs; run += 1) {
      const volume = `v${run}-${node.name}`;
      const { marginMs, lateWrites } = await writeStop(cluster, tickets, node, volume, fault);
      found.push(lateWrites > 0 ? -lateWrites : marginMs);
    }
    return found;
  };
  const measured = names.map(async (name, index) => {
    const node = cluster.nodes[index];
    if (!node) throw new Error(`there is no node ${index}`);
    const found = await margins(node, faults[name]);
    return [
      { what: `${name}: shortest`, value: Math.min(...found), unit: 'ms', atLeast: 1_000 },
      { what: `${name}: median`, value: quantile(found, 0.5), unit: 'ms' },
    ];
  });
  return printFigures(
    `From the last write to a possible grant, ${runs} runs each, TTL ${ttl}`,
    (await Promise.all(measured)).flat(),
  );
}
