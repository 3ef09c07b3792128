// A process that takes the lock `db` in a lock directory, writes two records under it, and ends as by SIGKILL after one of
// its calls to the file system, or starts of a program:
//
//     node ends-at-call.ts DIRECTORY CALL
//
// Prints `done` if it makes fewer calls.
import childProcess from 'node:child_process';
import fs from 'node:fs';
import promises from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';

const [, , directory = '', last = ''] = process.argv;
/** Loading the modules counts nothing. */
let calls: number | undefined;

function count(): void {
  if (calls === undefined) return;
  calls += 1;
  if (calls === Number(last)) process.kill(process.pid, 'SIGKILL');
}

type Functions = Record<string, (...args: unknown[]) => unknown>;

/** Counts each call when it has had its effect; one that returns a promise also while it works. */
function countCalls(of: object, names: readonly string[]): void {
  const functions = of as Functions;
  for (const name of names) {
    const call = functions[name];
    if (call === undefined) throw new Error(`no function ${name}`);
    functions[name] = function counted(this: unknown, ...args: unknown[]) {
      const outcome = call.apply(this, args);
      count();
      return outcome instanceof Promise ? outcome.finally(count) : outcome;
    };
  }
}

await using handle = await promises.open(process.execPath);
countCalls(Object.getPrototypeOf(handle), ['writeFile', 'datasync', 'sync']);
countCalls(promises, ['open', 'rename', 'rm']);
countCalls(fs, ['openSync', 'writeSync', 'closeSync', 'mkdirSync']);
countCalls(fs, ['linkSync', 'unlinkSync', 'rmSync']);
countCalls(childProcess, ['spawn']);
syncBuiltinESMExports();

const { fileStore } = await import('../../../../lib/lock/stores/file/store.ts');
const { clientOf } = await import('../../bench/store-bench.ts');
calls = 0;
{
  await using store = await fileStore({ directory });
  const client = await clientOf(store, 'ends');
  const held = await client.hold('db');
  const writes = ['one', 'two'].map((key) => ({ key, value: String(held.token) }));
  await store.commit({ guards: [], writes, release: [held] });
}
process.stdout.write('done\n');
