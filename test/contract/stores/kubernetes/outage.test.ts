// The lock manager's contract for outages, on Kubernetes: an API server that is killed and frozen, an
// etcd below it that is moved; real time.
import { expect, test } from '@jest/globals';
import { kubernetesStore } from '../../../../lib/lock/stores/kubernetes/store.ts';
import { startKubernetes } from '../../../support/kubernetes.ts';
import { describeWith } from '../../../support/requirements.ts';
import { keep, queue, take } from '../../bench/manager-bench.ts';
import { lockOutageContract } from '../../locks/outage-contract.ts';

describeWith(['etcd', 'kubernetes'], 'when the API server fails', () => {
  const benchOf = lockOutageContract({
    start: startKubernetes,
    connect: ({ admin }) => kubernetesStore({ ...admin, name: 'outage' }),
    complaint: /the API server https:\/\/127\.0\.0\.1:\d+ does not answer: /,
    outlastsMs: 0,
  });

  test('keeps locks and waiters while etcd below the API server is restarted', async () => {
    const { server, n1, n2 } = benchOf();
    const { kept } = keep(await take(n1, 'db'), n1);
    const { granted } = await queue(n2, 'db');
    await server.etcd.kill();
    await server.etcd.restart();
    expect(kept.state).toBe('held');
    await kept.unlock();
    await (await granted).unlock();
  });
});
