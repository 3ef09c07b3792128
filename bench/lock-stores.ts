import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { LockManager } from '../lib/lock/lock-manager.ts';
import { fileStore } from '../lib/lock/stores/file/store.ts';
import { postgresStore } from '../lib/lock/stores/postgres/store.ts';
import { startPostgres } from '../test/support/postgres-server.ts';
import { makeTemporaryDirectory } from '../test/support/temporary-directory.ts';
import { cyclesPerSecond } from './cycles-per-second.ts';
import { printFigures, quantile, timed } from './statistics.ts';

const run = promisify(execFile);
const roundMs = 1_000;
const cyclesPerRound = 20;
/**
 * 16 workers reached 57 cycles per second, at a floor of 3,061, while each step was a transaction of its own.
 * The limit is ten times as much of the floor.
 */
const leastRatio = 0.19;

/** Measures locks on PostgreSQL and in a directory against their floors, in alternating rounds. */
export async function benchOtherStores(rounds: number): Promise<number> {
  return (await benchPostgres(rounds)) + (await benchFile(rounds));
}

/** The floor is an insert and a delete, each committed, with a connection for each worker. */
async function benchPostgres(rounds: number): Promise<number> {
  await using server = await startPostgres();
  await using store = postgresStore({ url: server.url });
  await using manager = new LockManager({ store, host: 'n1', owner: 'bench', ttlMs: 60_000 });
  const pool = new pg.Pool({ connectionString: server.url, max: 16 });
  await using _ = { [Symbol.asyncDispose]: () => pool.end() };
  await pool.query('CREATE TABLE floor (id INT8 PRIMARY KEY, value TEXT)');
  const cycle = (worker: number) => lockAndUnlock(manager, `db${worker}`);
  const floor = async (worker: number) => {
    await pool.query('INSERT INTO floor VALUES ($1, $2)', [worker, 'x'.repeat(220)]);
    await pool.query('DELETE FROM floor WHERE id = $1', [worker]);
  };
  const [alone, many, floors]: [number[], number[], number[]] = [[], [], []];
  await cyclesPerSecond(16, roundMs, cycle);
  await cyclesPerSecond(16, roundMs, floor);
  for (let round = 0; round < rounds; round += 1) {
    alone.push(await cyclesPerSecond(1, roundMs, cycle));
    many.push(await cyclesPerSecond(16, roundMs, cycle));
    floors.push(await cyclesPerSecond(16, roundMs, floor));
  }
  const ratios = many.map((each, round) => each / (floors[round] ?? Number.NaN));
  return printFigures(`Locks on PostgreSQL, medians of ${rounds} rounds`, [
    { what: '1 worker', value: quantile(alone, 0.5), unit: '/s' },
    { what: '16 workers', value: quantile(many, 0.5), unit: '/s' },
    { what: '16 workers, insert and delete committed', value: quantile(floors, 0.5), unit: '/s' },
    { what: 'ratio of these', value: quantile(ratios, 0.5), unit: '×', atLeast: leastRatio },
  ]);
}

/** The floor is a run of `flock`, the program. */
async function benchFile(rounds: number): Promise<number> {
  await using directory = await makeTemporaryDirectory();
  await using store = await fileStore({ directory: join(directory.path, 'locks') });
  await using manager = new LockManager({ store, host: 'n1', owner: 'bench', ttlMs: 60_000 });
  const [cycles, floors, ratios]: [number[], number[], number[]] = [[], [], []];
  for (let round = 0; round < rounds; round += 1) {
    const ours = await times(() => lockAndUnlock(manager, 'db'));
    const theirs = await times(() => run('flock', [join(directory.path, 'floor'), 'true']));
    cycles.push(...ours);
    floors.push(...theirs);
    ratios.push(quantile(ours, 0.5) / quantile(theirs, 0.5));
  }
  return printFigures(`Locks in a directory, ${cycles.length} cycles`, [
    { what: 'lock + unlock, p50', value: quantile(cycles, 0.5), unit: 'ms' },
    { what: 'flock(1), p50', value: quantile(floors, 0.5), unit: 'ms' },
    { what: 'ratio, median of the rounds', value: quantile(ratios, 0.5), unit: '×', limit: 3 },
  ]);
}

async function lockAndUnlock(manager: LockManager, name: string): Promise<void> {
  const lock = await manager.lock([{ name, mode: 'exclusive' }], { reason: 'Mount' });
  await lock.unlock();
}

async function times(work: () => Promise<unknown>): Promise<number[]> {
  const ms: number[] = [];
  for (let count = 0; count < cyclesPerRound; count += 1) ms.push(await timed(work));
  return ms;
}
