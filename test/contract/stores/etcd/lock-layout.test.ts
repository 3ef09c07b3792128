// docs/lock-layout.md: programs without the library take the same locks (docs/examples/etcd-lock.sh and .go).
import { readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { EtcdClient } from '../../../../lib/etcd/client.ts';
import type { LockManager } from '../../../../lib/lock/lock-manager.ts';
import { EtcdStore } from '../../../../lib/lock/stores/etcd/store.ts';
import { repository } from '../../../support/berth.ts';
import type { Etcd } from '../../../support/etcd-server.ts';
import { startEtcd } from '../../../support/etcd-server.ts';
import { compileGo } from '../../../support/go-program.ts';
import type { RunningProcess } from '../../../support/processes.ts';
import { startProcess, waitFor } from '../../../support/processes.ts';
import { describeWith } from '../../../support/requirements.ts';
import type { TemporaryDirectory } from '../../../support/temporary-directory.ts';
import { makeTemporaryDirectory } from '../../../support/temporary-directory.ts';
import { etcdTools } from '../../../support/tools.ts';
import { addressesOf } from '../../bench/etcd-fixture.ts';
import { manager, queue, take } from '../../bench/manager-bench.ts';

const programs = [
  ['a shell script takes with etcdctl', 'shell', ['etcd', 'jq']],
  ['a program in Go takes', 'go', ['etcd', 'go-etcd']],
] as const;

describe.each(programs)('a lock that %s', (_who, language, requirements) => {
  describeWith(requirements, 'in the queue of the library', () => {
    let etcd: Etcd;
    let stack: AsyncDisposableStack;
    let library: LockManager;
    let directory: TemporaryDirectory;
    let prefix: string;
    let prefixes = 0;
    let program: string;

    beforeAll(async () => {
      stack = new AsyncDisposableStack();
      etcd = stack.use(await startEtcd());
      directory = stack.use(await makeTemporaryDirectory());
      const source = join(
        repository,
        'docs/examples',
        language === 'go' ? 'etcd-lock.go' : 'etcd-lock.sh',
      );
      program = language === 'go' ? await compileGo(source, directory.path) : source;
    });
    afterAll(() => stack.disposeAsync());
    beforeEach(async () => {
      prefixes += 1;
      prefix = `/${language}${prefixes}`;
      const store = new EtcdStore(new EtcdClient({ endpoints: addressesOf(etcd) }), prefix);
      stack.use(store);
      library = stack.use(manager(store, 'n1'));
      await library.open();
    });

    /** Runs a command under the lock `db` by the program. */
    function run(...command: string[]): RunningProcess {
      return startProcess(program, ['db', ...command], {
        env: {
          PATH: `${dirname(etcdTools('3.5').etcdctl)}:${process.env.PATH}`,
          ETCDCTL_ENDPOINTS: etcd.endpoints.join(','),
          ENDPOINTS: etcd.endpoints.join(','),
          PREFIX: prefix,
          TTL: '9',
        },
      });
    }

    const queued = (count: number) => async () => (await library.inspect('db')).length === count;
    const holder = async () => (await library.inspect('db'))[0]?.holder;

    test('it waits for a holder of the library, and is granted in the order of the queue', async () => {
      const held = await take(library, 'db');
      await using waiting = run('sh', '-c', 'echo "token $BERTH_LOCK_TOKEN"; sleep 1');
      await waitFor(queued(2), 10_000, 'the program to wait');
      const behind = await queue(library, 'db');
      expect(waiting.output()).toBe('');
      await held.unlock();
      const next = await behind.granted;
      const { stdout, stderr, code } = await waiting.finished;
      expect({ stderr, code }).toEqual({ stderr: '', code: 0 });
      const token = Number(/token (\d+)/.exec(stdout)?.[1]);
      expect(held.token).toBeLessThan(token);
      expect(token).toBeLessThan(next.token);
      await next.unlock();
    });

    test('the library waits for it, and says what holds the lock', async () => {
      const go = join(directory.path, `go-on-${prefixes}`);
      const command = `until [ -e ${go} ]; do sleep 0.1; done`;
      await using holding = run('sh', '-c', command);
      await waitFor(async () => (await holder())?.reason === language, 10_000, 'its ticket');
      expect(await holder()).toMatchObject({ detail: `sh -c ${command}` });
      const refused = library.tryLock([{ name: 'db', mode: 'exclusive' }], { reason: 'Mount' });
      const next = await queue(library, 'db');
      expect(await refused).toBeUndefined();
      await writeFile(go, '');
      expect((await holding.finished).code).toBe(0);
      await (await next.granted).unlock();
    });

    test('programs and the library count together, and lose no count', async () => {
      const file = join(directory.path, 'count');
      await writeFile(file, '0');
      const add = `n=$(cat ${file}); sleep 0.1; echo -n $((n + 1)) > ${file}`;
      const running = [1, 2, 3].map(() => run('sh', '-c', add));
      for (let i = 0; i < 20; i += 1) {
        await using _ = await take(library, 'db');
        const before = Number(await readFile(file, 'utf8'));
        await writeFile(file, `${before + 1}`);
      }
      for (const each of running) expect((await each.finished).code).toBe(0);
      expect(await readFile(file, 'utf8')).toBe('23');
    });

    test('it is refused, also while it waits, when the lock is disabled', async () => {
      const held = await take(library, 'db');
      await using waiting = run('true');
      await waitFor(queued(2), 10_000, 'the program to wait');
      await library.disable('db', { why: 'upgrade' });
      await using late = run('true');
      for (const each of [waiting, late]) {
        const { code, stderr } = await each.finished;
        expect(code).toBe(4);
        expect(stderr).toMatch(/the lock db is disabled/);
      }
      await held.unlock();
    });

    test.each([
      ['its ticket was removed', async () => breakIt()],
      ['etcd does not answer', async () => etcd.pause()],
    ])('its command is killed with all that it has started when %s', async (_why, lose) => {
      const file = join(directory.path, `lines-${prefixes}`);
      await using holding = run('sh', '-c', `(while :; do echo >> ${file}; sleep 0.05; done)`);
      await waitFor(() => readFile(file), 10_000, 'the command to run');
      await lose();
      const { code, stderr } = await holding.finished;
      etcd.resume();
      expect(code).toBe(5);
      expect(stderr).toMatch(/the lock db was lost: the command was killed/);
      const lines = (await readFile(file)).length;
      await (await take(library, 'db')).unlock();
      expect((await readFile(file)).length).toBe(lines);
    });

    test('its command is killed with all that it has started when the program is ended', async () => {
      const file = join(directory.path, `ended-${prefixes}`);
      await using holding = run('sh', '-c', `(while :; do echo >> ${file}; sleep 0.05; done)`);
      await waitFor(() => readFile(file), 10_000, 'the command to run');
      holding.kill('SIGTERM');
      expect((await holding.finished).code).toBe(143);
      await using _ = await take(library, 'db');
      const lines = (await readFile(file)).length;
      await pause(500); // Ten lines, if it went on.
      expect((await readFile(file)).length).toBe(lines);
    });

    async function breakIt(): Promise<void> {
      const [ticket] = await library.inspect('db');
      if (ticket) await library.breakLock(ticket);
    }
  });
});
