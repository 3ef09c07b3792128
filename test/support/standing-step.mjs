// Preloaded into a daemon by a test (node --import), and inherited by its storage worker. The file `plan` of the
// directory STEPS says what happens:
//
//     { id, volumes, before: 3 }   in the worker: a driver's call on one of these volumes stands still before its third
//                                  step, for ever, and says so in the file `standing/VOLUME`
//     { id, volumes: [], commits: 2 }   in the daemon: it kills itself right after its second change of the store
//
// A step is a change of the file system, a program, a question to the store, or the answer to the daemon.
import { AsyncLocalStorage } from 'node:async_hooks';
import programs from 'node:child_process';
import { EventEmitter } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import files from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

const directory = process.env.STEPS ?? '';
const changes = [
  ...['mkdir', 'mkdtemp', 'link', 'rename', 'rm', 'rmdir', 'unlink', 'writeFile'],
  ...['chmod', 'chown', 'symlink', 'truncate'],
];
const changesOfHandles = ['sync', 'datasync', 'truncate', 'write', 'writeFile', 'chmod', 'chown'];
const isRead =
  /^(pool|storage)\.|^trash\.(entries|identityOf|bytes)$|^(usage|occupied|hasShutDown)$/;
const never = () => new Promise(() => {});

/** The driver's call in which the code runs. */
const calls = new AsyncLocalStorage();
/** The number of steps, by plan and volume. */
const counts = new Map();

function plan() {
  try {
    return JSON.parse(readFileSync(join(directory, 'plan'), 'utf8'));
  } catch {
    return { volumes: [] }; // There is no plan now.
  }
}

function count(key) {
  const next = (counts.get(key) ?? 0) + 1;
  counts.set(key, next);
  return next;
}

/** Counts a step; true: it is not to be made, and neither is any that comes after it. */
function standsStill(...what) {
  const call = calls.getStore();
  if (call === undefined) return false;
  const { id, volumes, before } = plan();
  if (before === undefined || !volumes.includes(call.volume)) return false;
  const number = count(`${id} ${call.volume}`);
  if (number === before) {
    const words = what.flat().filter((word) => typeof word === 'string');
    const step = `${call.method}: ${words.join(' ')}`;
    const standing = JSON.stringify({ id, pid: process.pid, step });
    writeFileSync(join(directory, 'standing', call.volume), standing);
  }
  return number >= before;
}

function inCall(order, work) {
  if (order.is !== 'call' || isRead.test(order.method)) return work();
  const [first, second] = order.args;
  // The first argument is a volume, a snapshot of a volume, or an entry of the trash.
  const subject = order.method === 'clone' ? second : (first?.volume ?? first);
  const volume = typeof subject === 'string' ? subject : subject?.name;
  return calls.run({ volume, method: order.method }, work);
}

async function followWorker() {
  const on = process.on.bind(process);
  process.on = (event, listener) =>
    on(event, event === 'message' ? (order) => inCall(order, () => listener(order)) : listener);
  const send = process.send.bind(process);
  process.send = (report, ...rest) => {
    const isStep = report.is === 'confirm' || report.is === 'answer';
    return isStep && standsStill(report.is) ? true : send(report, ...rest);
  };
  for (const name of changes) {
    const change = files[name];
    files[name] = (...args) => (standsStill(name, args) ? never() : change(...args));
  }
  const handle = await files.open(process.execPath);
  const handles = Object.getPrototypeOf(handle);
  await handle.close();
  for (const name of changesOfHandles) {
    const change = handles[name];
    handles[name] = function (...args) {
      return standsStill(name) ? never() : change.apply(this, args);
    };
  }
  const { execFile } = programs;
  programs.execFile = (program, args, ...rest) => {
    const isLook = program === 'du' || args.includes('--list');
    if (isLook || !standsStill('run', program, args)) return execFile(program, args, ...rest);
    return Object.assign(new EventEmitter(), { kill: () => true });
  };
  syncBuiltinESMExports();
}

function followDaemon() {
  const { exec } = DatabaseSync.prototype;
  let isChange = false;
  DatabaseSync.prototype.exec = function (sql) {
    const result = exec.call(this, sql);
    if (sql.startsWith('BEGIN')) isChange = sql === 'BEGIN IMMEDIATE';
    if (sql === 'COMMIT' && isChange) {
      const { id, commits } = plan();
      if (commits !== undefined && count(id) === commits) process.kill(process.pid, 'SIGKILL');
    }
    return result;
  };
}

if (process.argv[1]?.includes('volumes/worker/main.')) await followWorker();
if (process.argv[1]?.includes('plugin/main.')) followDaemon();
