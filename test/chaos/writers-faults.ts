import { setTimeout as pause } from 'node:timers/promises';
import type { WritersCluster } from './writers-cluster.ts';
import type { WriterContainer } from './writers-container.ts';
import type { HostFault, WriterFault } from './writers-plan.ts';
import { onEtcd, onHost, onWriter } from './writers-victims.ts';

/** A fault that was carried out. */
export interface SufferedFault {
  readonly kind: WriterFault['kind'];
  readonly target: string;
  readonly fromMs: number;
  readonly toMs: number;
}

/**
 * Carries the plan out, and resolves when everything runs again. When the target of a fault is busy
 * with another fault, the next target gets it; when all are busy, the fault is left out. The faults
 * that were carried out are added to `suffered`.
 */
export async function sufferWriterFaults(
  cluster: WritersCluster,
  plan: readonly WriterFault[],
  suffered: SufferedFault[],
): Promise<void> {
  const startedAt = performance.now();
  const nowMs = () => Math.round(performance.now() - startedAt);
  const busy = new Set<string>();
  const running: Promise<void>[] = [];
  for (const fault of plan) {
    await pause(Math.max(0, fault.atMs - nowMs()));
    const free = (await targetsOf(cluster, fault)).find(({ node }) =>
      partsOf(fault, node.name).every((part) => !busy.has(part)),
    );
    if (!free) continue;
    const { node } = free;
    const parts = partsOf(fault, node.name);
    for (const part of parts) busy.add(part);
    const fromMs = nowMs();
    const target = fault.on === 'etcd' ? `e${fault.index + 1}` : node.name;
    const happening = bring(cluster, fault, free).then((happened) => {
      for (const part of parts) busy.delete(part);
      if (happened) suffered.push({ kind: fault.kind, target, fromMs, toMs: nowMs() });
    });
    happening.catch(() => {}); // Awaited below, after the others have ended.
    running.push(happening);
  }
  await Promise.allSettled(running);
  await Promise.all(running);
}

/** Returns the possible targets of a fault, the planned one first. */
async function targetsOf(
  { writers, nodes }: WritersCluster,
  { volume, index, isAimed }: WriterFault,
): Promise<WriterContainer[]> {
  const own = writers.filter((writer) => writer.volume === volume);
  const planned = own.findIndex(({ node }) => node === nodes[index]);
  const inTurn = [...own.slice(planned), ...own.slice(0, planned)];
  if (!isAimed) return inTurn;
  const times = new Map<WriterContainer, number>();
  for (const writer of own) times.set(writer, await writer.lastAcknowledgedMs());
  return inTurn.sort((a, b) => (times.get(b) ?? 0) - (times.get(a) ?? 0));
}

/** Returns the parts that a fault breaks, which no other fault may touch at the same time. */
function partsOf(fault: WriterFault, host: string): string[] {
  switch (fault.on) {
    case 'host':
      return partsOfHost(fault.kind).map((part) => (part === 'etcd' ? part : `${host} ${part}`));
    case 'etcd':
      return ['etcd'];
    case 'writer':
      return [];
  }
}

/**
 * Returns the parts of a host that a fault breaks. Without its sentinel a host is not fenced until
 * the daemon has replaced the sentinel, so nothing may cut the host from its locks in that time.
 */
function partsOfHost(kind: HostFault): string[] {
  switch (kind) {
    case 'cut off':
      return ['network'];
    case 'freeze engine':
      return ['engine'];
    case 'kill daemon':
    case 'freeze daemon':
    case 'restart daemon':
      return ['daemon'];
    // An engine that starts calls its plugins, and its start waits for them.
    case 'kill engine':
    case 'kill daemon and engine':
    case 'kill everything':
      return ['daemon', 'engine'];
    case 'kill sentinel':
    case 'freeze sentinel':
      return ['daemon', 'network', 'etcd'];
  }
}

/** Carries out a fault; false when it was refused or had no victim. Resolves once it has ended. */
async function bring(
  cluster: WritersCluster,
  fault: WriterFault,
  writer: WriterContainer,
): Promise<boolean> {
  switch (fault.on) {
    case 'host':
      return onHost(writer.node, fault.kind, fault.lastsMs);
    case 'etcd':
      return onEtcd(cluster, fault.kind, fault.index, fault.lastsMs);
    case 'writer':
      return onWriter(cluster, fault.kind, writer, fault.index);
  }
}
