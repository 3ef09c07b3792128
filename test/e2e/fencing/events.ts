import type { EngineNode } from '../hosts/cluster.ts';

/**
 * Returns the events of a volume from `berth events` on its host: `kind: message`, oldest first.
 */
export async function eventsOf({ daemon }: EngineNode, volume: string): Promise<string[]> {
  const output = await daemon.berthOk('events', '--volume', volume, '--json');
  const { events }: { events: { kind: string; message: string }[] } = JSON.parse(output);
  return events.map(({ kind, message }) => `${kind}: ${message}`);
}

/** Returns the kinds of a volume's events, oldest first. */
export async function eventKindsOf(node: EngineNode, volume: string): Promise<string[]> {
  return (await eventsOf(node, volume)).map((event) => event.split(':')[0] ?? '');
}
