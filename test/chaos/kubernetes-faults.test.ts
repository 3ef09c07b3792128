// Workers on Kubernetes: real processes that are killed and frozen, an API server that is killed, frozen and
// restarted, wall clocks that are wrong; real time.
import { setTimeout as pause } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { describeWith } from '../support/requirements.ts';
import { KubernetesBench } from './kubernetes-bench.ts';

const ttlMs = 6_000;
const hourMs = 3_600_000;
/** The time in which a worker writes again: the start of an API server, a TTL, a busy machine. */
const recoveryMs = 30_000;

describeWith(['etcd', 'kubernetes'], 'workers on Kubernetes', () => {
  test('exclude each other, in order, while the API server and other workers fail', async () => {
    await using bench = await KubernetesBench.open({ ttlMs });
    const workers = await bench.workers('n1', 'n2', 'n3');
    const [n1, n2, n3] = workers;
    await Promise.all(workers.map((worker, index) => worker.work(['db', 'web'], index)));
    const progress = async () => {
      await Promise.all(workers.map((worker) => bench.progressOf(worker, 'db', recoveryMs)));
    };
    await progress();
    const { kubernetes } = bench;
    // Shorter than a TTL, then longer.
    for (const ms of [ttlMs / 4, ttlMs * 1.5]) {
      kubernetes.pause();
      await pause(ms);
      kubernetes.resume();
      await progress();
    }
    await kubernetes.kill();
    await kubernetes.restart();
    await progress();
    await kubernetes.etcd.kill();
    await kubernetes.etcd.restart();
    await progress();
    // It holds the lock when it is frozen: the others end its session.
    const holds = n1.nextHold();
    await holds;
    n1.freeze();
    await Promise.all([n2, n3].map((worker) => bench.progressOf(worker, 'db', recoveryMs)));
    n1.thaw();
    await progress();
    const heldByAnother = n2.nextHold();
    await heldByAnother;
    await n2.kill();
    await Promise.all([n1, n3].map((worker) => bench.progressOf(worker, 'db', recoveryMs)));
    expect(await bench.violations()).toEqual([]);
  });

  test('S59 exclude each other, and expire in time, with clocks an hour ahead and behind', async () => {
    await using bench = await KubernetesBench.open({ ttlMs });
    const [right, ahead, behind] = await Promise.all([
      bench.worker('right'),
      bench.worker('ahead', hourMs),
      bench.worker('behind', -hourMs),
    ]);
    const workers = [right, ahead, behind];
    const held = await Promise.all(workers.map((worker) => worker.hold(`held by ${worker.name}`)));
    await Promise.all(workers.map((worker, index) => worker.work(['db'], index)));
    await pause(ttlMs * 1.2);
    for (const worker of workers) await bench.progressOf(worker, 'db', recoveryMs);
    await Promise.all(workers.map((worker) => worker.go()));
    // More than a TTL has passed: no worker lost its lock early.
    for (const { added } of held) expect(await added).toMatchObject({ outcome: 'written' });
    await Promise.all(
      [ahead, behind].map(async (wrong) => {
        await wrong.hold(`taken from ${wrong.name}`);
        await wrong.kill();
        // It would not be free within the limit of a test if the wrong clock counted.
        expect(await right.add(`taken from ${wrong.name}`)).toMatchObject({ outcome: 'written' });
      }),
    );
    const { events } = await bench.evidence();
    const skews = ['ahead', 'behind'].map((name) => {
      const event = events.find(({ process }) => process === name);
      return Math.round((Date.parse(event?.wall ?? '') - Date.now()) / hourMs);
    });
    expect(skews).toEqual([1, -1]);
    expect(await bench.violations()).toEqual([]);
  });
});
