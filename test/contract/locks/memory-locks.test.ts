// `memoryLocks`, the locks of one process without a store of its own to open; real time.
import { expect, test } from '@jest/globals';
import { LockContendedError, LockDisabledError } from '../../../lib/lock/errors.ts';
import { LockPool } from '../../../lib/lock/recipes/pool/lock-pool.ts';
import { memoryLocks } from '../../../lib/lock/stores/memory/locks.ts';
import { exclusive } from '../bench/store-bench.ts';

const reason = 'Job';

test('S30 memoryLocks refuses a second lock within the process, and unlocks twice', async () => {
  await using locks = memoryLocks({ host: 'n1' });
  const lock = await locks.lock([exclusive('db')], { reason });
  const second = locks.lock([exclusive('db')], { reason, timeoutMs: 0 });
  await expect(second).rejects.toThrow(LockContendedError);
  await expect(second).rejects.toThrow('db is held: host n1 (Job, since');
  await lock.unlock();
  await lock.unlock();
  await (await locks.lock([exclusive('db')], { reason, timeoutMs: 0 })).unlock();
  await locks.disable('db');
  await expect(locks.lock([exclusive('db')], { reason })).rejects.toThrow(LockDisabledError);
  const pool = new LockPool(locks, { name: 'containers', capacity: 1 });
  expect((await pool.allocate('web')).id).toBe(0);
});

test('memoryLocks leaves no timer after it was closed, and shares nothing with another', async () => {
  await using other = memoryLocks();
  const locks = memoryLocks();
  const lock = await locks.lock([exclusive('db')], { reason });
  await using _ = await other.lock([exclusive('db')], { reason, timeoutMs: 0 });
  const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
  const before = timers();
  await locks[Symbol.asyncDispose]();
  expect(lock.signal.aborted).toBe(true);
  expect(timers()).toBeLessThan(before);
});
