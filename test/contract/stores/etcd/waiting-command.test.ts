// `berth lock run --store` on etcd: a command that is ended while it waits leaves no request behind.
import { fileURLToPath } from 'node:url';
import { expect, test } from '@jest/globals';
import { EtcdClient } from '../../../../lib/etcd/client.ts';
import { EtcdStore } from '../../../../lib/lock/stores/etcd/store.ts';
import { startEtcd } from '../../../support/etcd-server.ts';
import { startProcess, waitFor } from '../../../support/processes.ts';
import { describeWith } from '../../../support/requirements.ts';
import { addressesOf } from '../../bench/etcd-fixture.ts';
import { manager, take } from '../../bench/manager-bench.ts';

const program = fileURLToPath(new URL('../../../../bin/berth', import.meta.url));

describeWith(['etcd'], 'lock run on etcd', () => {
  test.each(['SIGTERM', 'SIGINT', 'SIGHUP'] as const)(
    'leaves no request behind when it is ended by %s while it waits',
    async (signal) => {
      await using etcd = await startEtcd();
      const [endpoint] = addressesOf(etcd);
      await using store = new EtcdStore(new EtcdClient({ endpoints: addressesOf(etcd) }), '/run');
      await using library = manager(store, 'n1');
      await using _ = await take(library, 'db');
      const url = `etcd://${endpoint}/run`;
      // A TTL far above the limit of the wait below.
      const options = ['--ttl', '60s', '--store', url];
      const command = ['lock', 'run', 'db', ...options, '--', 'true'];
      await using waiting = startProcess(program, command);
      const queued = (count: number) => async () => (await library.inspect('db')).length === count;
      await waitFor(queued(2), 20_000, 'the command to wait');
      waiting.kill(signal);
      const { code, stderr } = await waiting.finished;
      expect(code).toBe(1);
      expect(stderr).toMatch(/the request for db was cancelled/);
      expect(await library.inspect('db')).toHaveLength(1);
    },
  );
});
