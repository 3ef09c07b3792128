import process from 'node:process';
import { setTimeout as pause } from 'node:timers/promises';
import { EtcdClient } from '../../lib/etcd/client.ts';
import { StoreUnavailableError } from '../../lib/lock/errors.ts';
import { LockManager } from '../../lib/lock/lock-manager.ts';
import { EtcdStore } from '../../lib/lock/stores/etcd/store.ts';
import { kubernetesStore } from '../../lib/lock/stores/kubernetes/store.ts';
import type { TicketStore } from '../../lib/lock/stores/ticket-store.ts';
import { namesOf } from '../../lib/lock/ticket.ts';
import type { SeededRandom } from '../support/seeded-random.ts';
import { seededRandom } from '../support/seeded-random.ts';
import type { AddOptions, AddResult } from './guarded-set.ts';
import { GuardedSets } from './guarded-set.ts';
import { HistoryWriter } from './history.ts';
import { setWallClock } from './wall-clock.ts';
import type { Call, Task, WorkerSettings, WorkerStore } from './worker-task.ts';
import { holding } from './worker-task.ts';

/** The process of a worker: argv[2] has its settings, its parent sends its tasks. */
const settings: WorkerSettings = JSON.parse(process.argv[2] ?? '');
const history = new HistoryWriter(settings.historyPath, settings.name);

const { name: host, ttlMs } = settings;
const store = recordQueue(openStore(settings.store));
const manager = new LockManager({ store, host, owner: host, ttlMs });
const sets = new GuardedSets(manager, store, history, host);
const goes: PromiseWithResolvers<void>[] = [];
let working: Promise<void> | undefined;
let resting = new AbortController();

process.on('message', (call: Call) => {
  run(call.task).then(
    (answer) => process.send?.({ id: call.id, answer }),
    (error) => process.send?.({ id: call.id, error: String(error) }),
  );
});
// The parent has ended, in whatever way.
process.on('disconnect', () => process.exit());
process.send?.('ready');

function openStore(chosen: WorkerStore): TicketStore {
  if (chosen.kind === 'kubernetes') return kubernetesStore(chosen.options);
  return new EtcdStore(new EtcdClient({ endpoints: chosen.endpoints }), chosen.prefix);
}

/** Records the place of each request in the queue. */
function recordQueue(opened: TicketStore): TicketStore {
  const enqueue = opened.enqueue.bind(opened);
  opened.enqueue = async (request) => {
    const answer = await enqueue(request);
    if ('ticket' in answer) {
      history.add({ op: 'queued', sets: namesOf(request.locks), token: answer.ticket.token });
    }
    return answer;
  };
  return opened;
}

async function run(task: Task): Promise<AddResult | undefined> {
  switch (task.name) {
    case 'open':
      await open();
      return;
    case 'add':
      return sets.add(task.sets, {
        writing: task.writing,
        ...(task.halts ? { beforeWrite: halt } : {}),
      });
    case 'go':
      goes.shift()?.resolve();
      return;
    case 'work':
      resting = new AbortController();
      working = work(task.sets, seededRandom(task.seed));
      return;
    case 'rest':
      resting.abort();
      await working;
      return;
    case 'shiftClock':
      setWallClock(task.offsetMs);
      return;
    case 'close':
      await manager.close({ keep: false });
      await store[Symbol.asyncDispose]();
      return;
  }
}

/** Opens the session, and retries while etcd is away. */
async function open(): Promise<void> {
  for (;;) {
    try {
      await manager.open();
      return;
    } catch (error) {
      if (!(error instanceof StoreUnavailableError)) throw error;
      await pause(100);
    }
  }
}

async function halt(): Promise<void> {
  const go = Promise.withResolvers<void>();
  goes.push(go);
  process.send?.(holding);
  await go.promise;
}

async function work(names: readonly string[], random: SeededRandom): Promise<void> {
  while (!resting.signal.aborted) {
    const some = names.filter(() => random.chance(0.7));
    const chosen = some.length > 0 ? some : [random.pick(names)];
    const { outcome } = await sets.add(chosen, optionsBy(random));
    // While the store is away, requests are less frequent.
    await pause(random.below(outcome === 'written' ? 30 : 100));
  }
}

/** Chooses options: mostly requests that wait; some holds are long enough for a fault to hit. */
function optionsBy(random: SeededRandom): AddOptions {
  const isLong = random.chance(0.3);
  const pauseMs = isLong ? 100 + random.below(400) : random.below(20);
  const options: AddOptions = {
    writing: random.chance(0.5) ? 'blind' : 'guarded',
    beforeWrite: () => {
      if (isLong) process.send?.(holding);
      return pause(pauseMs);
    },
    releases: random.chance(0.5),
  };
  switch (random.below(10)) {
    case 0:
      return { ...options, timeoutMs: 0 };
    case 1:
      return { ...options, timeoutMs: 1 + random.below(200) };
    case 2:
      return { ...options, signal: AbortSignal.timeout(random.below(200)) };
    default:
      return options;
  }
}
