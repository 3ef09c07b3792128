import { setTimeout as pause } from 'node:timers/promises';
import type { SeededRandom } from '../support/seeded-random.ts';
import type { ChaosBench } from './chaos-bench.ts';
import { cut, suffer } from './chaos-bench.ts';
import type { WorkerProcess } from './worker-process.ts';

const workerFaults = [
  // Listed twice: a holder that wakes up after its time is the hardest case for a lock.
  'freeze',
  'freeze',
  'kill',
  'cut',
  'swallow',
  'hold',
  'slow',
  'reset',
  'one link',
  'clock',
] as const;
/** How long a fault waits until its victim holds a lock. */
const aimingMs = 3_000;
const memberFaults = ['freeze', 'kill'] as const;

/** A fault with its start and duration. */
export type PlannedFault = {
  readonly atMs: number;
  readonly lastsMs: number;
  /** The index of the worker, or of the member of etcd. */
  readonly index: number;
} & (
  | {
      readonly on: 'worker';
      readonly kind: (typeof workerFaults)[number];
      /** True when the fault waits, for a limited time, until the worker holds a lock. */
      readonly isAimed: boolean;
    }
  | { readonly on: 'etcd'; readonly kind: (typeof memberFaults)[number] }
);

export interface PlanOptions {
  readonly workers: number;
  readonly members: number;
  readonly ttlMs: number;
  readonly lengthMs: number;
}

/** Plans about one fault a second, one at a time per target; a seed always gives the same plan. */
export function planFaults(random: SeededRandom, options: PlanOptions): PlannedFault[] {
  const { workers, members, ttlMs, lengthMs } = options;
  const busyUntil = new Map<string, number>();
  const plan: PlannedFault[] = [];
  for (let atMs = 500; atMs < lengthMs; atMs += 400 + random.below(1_200)) {
    // Half of the faults end before a lease can expire.
    const lastsMs = random.chance(0.5) ? 100 + random.below(1_000) : ttlMs + random.below(2_000);
    // Nothing happens while a single etcd is away, so such faults are rare.
    const on = random.chance(0.1 * members) ? 'etcd' : 'worker';
    const index = random.below(on === 'worker' ? workers : members);
    const target = targetOf({ on, index });
    const when = { atMs, lastsMs, index };
    const fault: PlannedFault =
      on === 'worker'
        ? { ...when, on, kind: random.pick(workerFaults), isAimed: random.chance(0.6) }
        : { ...when, on, kind: random.pick(memberFaults) };
    if ((busyUntil.get(target) ?? 0) > atMs) continue;
    busyUntil.set(target, atMs + lastsMs + 500);
    plan.push(fault);
  }
  return plan;
}

function targetOf({ on, index }: { readonly on: string; readonly index: number }): string {
  return `${on} ${index}`;
}

export function describeFault({ atMs, lastsMs, on, index, kind }: PlannedFault): string {
  return `${atMs} ms: ${kind} ${on} ${index} for ${lastsMs} ms`;
}

/** Carries the plan out on working workers; resolves when all faults have ended. */
export async function sufferFaults(
  bench: ChaosBench,
  plan: readonly PlannedFault[],
  workers: WorkerProcess[],
  sets: readonly string[],
): Promise<void> {
  const startedAt = performance.now();
  /** The last fault of each target. A killed target may start slowly; its next fault waits. */
  const lastFaults = new Map<string, Promise<void>>();
  for (const [number, fault] of plan.entries()) {
    await pause(Math.max(0, startedAt + fault.atMs - performance.now()));
    const target = targetOf(fault);
    const suffered = (lastFaults.get(target) ?? Promise.resolve()).then(() =>
      fault.on === 'etcd' ? onMember(bench, fault) : onWorker(number, fault),
    );
    suffered.catch(() => {}); // Awaited below, after the others have ended.
    lastFaults.set(target, suffered);
  }
  await Promise.allSettled(lastFaults.values());
  await Promise.all(lastFaults.values());

  async function onWorker(
    number: number,
    { kind, index, lastsMs, isAimed }: PlannedFault & { on: 'worker' },
  ): Promise<void> {
    const worker = workers[index];
    if (!worker) throw new Error(`there is no worker ${index}`);
    if (isAimed) await Promise.race([worker.nextHold(), pause(aimingMs)]);
    if (kind === 'kill') {
      await worker.kill();
      await pause(lastsMs);
      const successor = await bench.worker(`w${index}.${number}`);
      await successor.work(sets, number);
      workers[index] = successor;
      return;
    }
    if (kind === 'clock') {
      const hourMs = 3_600_000;
      await worker.shiftClock(number % 2 === 0 ? hourMs : -hourMs);
      await pause(lastsMs);
      return worker.shiftClock(0);
    }
    if (kind === 'freeze') {
      worker.freeze();
      await pause(lastsMs);
      return worker.thaw();
    }
    if (kind === 'reset') {
      for (const proxy of worker.network) proxy.reset();
      return;
    }
    if (kind === 'cut') await cut(worker);
    else if (kind === 'slow') await suffer(worker, { delayMs: 50 + (lastsMs % 250) });
    else if (kind === 'one link') await worker.network[number % worker.network.length]?.cut();
    else await suffer(worker, kind);
    await pause(lastsMs);
    await suffer(worker, 'none');
  }
}

async function onMember(
  { etcd }: ChaosBench,
  { kind, index, lastsMs }: PlannedFault & { on: 'etcd' },
): Promise<void> {
  if (kind === 'freeze') {
    etcd.pause(index);
    await pause(lastsMs);
    return etcd.resume(index);
  }
  await etcd.kill(index);
  await pause(lastsMs);
  await etcd.restart(index);
}
