// A database in a container, written to and checkpointed without a pause, while its volume is copied: each copy
// must start, and be without a fault. PostgreSQL is real; TEST_SNAPSHOTS=20 is the figure of the promise.
import { expect, jest, test } from '@jest/globals';
import { describePlugged } from '../../support/plugged-host.ts';
import { databaseUser, startDatabase } from './database-container.ts';

const rounds = Number(process.env.TEST_SNAPSHOTS ?? 1);
jest.setTimeout(60_000 + rounds * 60_000);

const variants = [{ docker: '26.1', store: 'embedded' }] as const;
const owner = ['-o', `uid=${databaseUser}`, '-o', `gid=${databaseUser}`];
const drivers = [
  ['directory', owner],
  ['image', ['-o', 'driver=image', '-o', 'size=400M', ...owner]],
] as const;

describePlugged(
  'snapshots of PostgreSQL',
  { variants, requirements: ['postgres', 'loop'] },
  (on) => {
    test.each(drivers)('clients F2: start, and have no fault (%s)', async (driver, options) => {
      const { docker, berth } = on();
      await docker('volume', 'create', '-d', 'berth', ...options, driver);
      const first = await startDatabase(on(), driver);
      await first.run('pgbench', '-i', '-q', '-s', '2', 'postgres');
      await first.start('while :; do pgbench -n -c 4 -T 60 postgres; done');
      await first.start('while :; do psql -c CHECKPOINT postgres; done');
      for (let round = 1; round <= rounds; round += 1) {
        const snapshot = `${driver}@r${round}`;
        const { stderr } = await berth.berth('snapshot', 'create', snapshot);
        const copy = `${driver}-r${round}`;
        await docker('volume', 'create', '-d', 'berth', '-o', `from=${snapshot}`, copy);
        const second = await startDatabase(on(), copy);
        await second.run('pg_amcheck', '--install-missing', '--heapallindexed', 'postgres');
        const [accounts, ...others] = (
          await second.run('psql', '-Atc', balances, 'postgres')
        ).split('|');
        expect(others).toEqual([accounts, accounts, accounts]);
        expect(Number(accounts)).not.toBe(0);
        process.stderr.write(
          `${driver} ${round}: no fault; ${stderr.trim() || 'its file system was frozen'}\n`,
        );
        await second.end();
        await docker('volume', 'rm', copy);
        await berth.berthOk('snapshot', 'rm', snapshot);
      }
      await first.end();
    });
  },
);

const balances =
  'SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(tbalance) FROM pgbench_tellers), ' +
  '(SELECT sum(bbalance) FROM pgbench_branches), (SELECT sum(delta) FROM pgbench_history)';
