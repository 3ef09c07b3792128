import type { EngineNode } from '../hosts/cluster.ts';

/**
 * Returns the events of a volume on its host: `kind: message`, oldest first.
 */
export async function eventsOf(node: EngineNode, volume: string): Promise<string[]> {
  const events = await node.events(volume);
  return events.map(({ kind, message }) => `${kind}: ${message}`);
}

/** Returns the kinds of a volume's events, oldest first. */
export async function eventKindsOf(node: EngineNode, volume: string): Promise<string[]> {
  return (await eventsOf(node, volume)).map((event) => event.split(':')[0] ?? '');
}
