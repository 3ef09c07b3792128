import type { EngineNode } from '../hosts/cluster.ts';

/** What `berth events` tells of a volume on its host: `kind: message`, oldest first. */
export async function toldEvents({ daemon }: EngineNode, volume: string): Promise<string[]> {
  const told = await daemon.berthOk('events', '--volume', volume, '--json');
  const { events }: { events: { kind: string; message: string }[] } = JSON.parse(told);
  return events.map(({ kind, message }) => `${kind}: ${message}`);
}

/** Their kinds alone. */
export async function toldKinds(node: EngineNode, volume: string): Promise<string[]> {
  return (await toldEvents(node, volume)).map((event) => event.split(':')[0] ?? '');
}
