import type { SeededRandom } from '../support/seeded-random.ts';

/** The faults of a host. Kinds that are listed twice happen more often. */
const hostKinds = [
  'kill daemon',
  'freeze daemon',
  'freeze daemon',
  'restart daemon',
  'kill sentinel',
  'freeze sentinel',
  'kill engine',
  'freeze engine',
  'freeze engine',
  'kill daemon and engine',
  'kill everything',
  'cut off',
  'cut off',
] as const;
const etcdKinds = [
  'kill member',
  'freeze member',
  'cut off member',
  'kill leader',
  'freeze leader',
  'cut off leader',
  'freeze majority',
] as const;
const writerKinds = ['kill writer', 'stop writer', 'restart writer', 'clear lock'] as const;

export type HostFault = (typeof hostKinds)[number];
export type EtcdFault = (typeof etcdKinds)[number];
export type ContainerFault = (typeof writerKinds)[number];

/** A fault with its start and duration. */
export type WriterFault = {
  readonly atMs: number;
  readonly lastsMs: number;
  /** The index of the host, or of the member of etcd. */
  readonly index: number;
  readonly volume: string;
  /** True when the fault is aimed at the host that writes to the volume at that time. */
  readonly isAimed: boolean;
} & (
  | { readonly on: 'host'; readonly kind: HostFault }
  | { readonly on: 'etcd'; readonly kind: EtcdFault }
  | { readonly on: 'writer'; readonly kind: ContainerFault }
);

export interface WriterPlanOptions {
  readonly hosts: number;
  readonly volumes: readonly string[];
  readonly ttlMs: number;
  readonly lengthMs: number;
}

/** Plans about three faults in four seconds; a seed always gives the same plan. */
export function planWriterFaults(random: SeededRandom, options: WriterPlanOptions): WriterFault[] {
  const { hosts, volumes, ttlMs, lengthMs } = options;
  const plan: WriterFault[] = [];
  for (let atMs = 500; atMs < lengthMs; atMs += 600 + random.below(1_400)) {
    // Some faults end before a deadline; with the others, hosts lose their locks.
    const lastsMs = random.chance(0.4)
      ? 300 + random.below(2_000)
      : ttlMs / 2 + random.below(2.5 * ttlMs);
    const volume = random.pick(volumes);
    const when = { atMs, lastsMs: Math.round(lastsMs), volume, isAimed: random.chance(0.6) };
    const index = random.below(hosts);
    const number = random.below(20);
    if (number < 12) plan.push({ ...when, index, on: 'host', kind: random.pick(hostKinds) });
    else if (number < 16)
      plan.push({ ...when, index, on: 'writer', kind: random.pick(writerKinds) });
    else plan.push({ ...when, index: random.below(3), on: 'etcd', kind: random.pick(etcdKinds) });
  }
  return plan;
}
