// The storage worker: runs the drivers for the daemon that started it, and ends with it.
import createDebug from 'debug';
import { systemCalls } from '../../linux/mounting.ts';
import { systemClock } from '../../running/clock.ts';
import { every } from '../../running/every.ts';
import { never } from '../../running/never.ts';
import type { DriverContext, Progress } from '../drivers/driver.ts';
import { drivers } from '../drivers/registry.ts';
import type { Order, Report } from './messages.ts';
import { errorOf, failureOf } from './messages.ts';
import { programMovement } from './movement.ts';
import { portDigest } from './port-digest.ts';

const debug = createDebug('berth:worker');
const lookEveryMs = 1_000;

if (process.argv[3] !== portDigest()) {
  const message =
    "berth's program files were replaced by another release while it runs, so it can't start a process for " +
    'storage work: restart berth; that unmounts no volume';
  process.send?.({ is: 'refusal', message } satisfies Report, undefined, undefined, () =>
    process.exit(1),
  );
  await new Promise(() => {}); // Until the message has been sent.
}

const all = await drivers({
  ...JSON.parse(process.argv[2] ?? ''),
  report: (volume: string, message: string) => say({ is: 'kept', volume, message }),
});
const movement = programMovement();
const aborts = new Map<number, AbortController>();
/** The drivers that wait to hear whether their caller's lock is still held, by call. */
const asking = new Map<number, PromiseWithResolvers<void>>();

process.on('message', (order: Order) => {
  if (order.is === 'call') void answer(order);
  else if (order.is === 'confirmed') heard(order);
  else aborts.get(order.id)?.abort(new Error(order.reason));
});
// The daemon has ended. Its successor must not meet what this process still does.
const end = () => process.kill(-process.pid, 'SIGKILL');
process.on('disconnect', end);
if (!process.connected) end(); // It has ended while this process started: nobody heard of that.
// It ends with its daemon, which may need it to the last.
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => {});

await systemCalls(); // So that no Mount waits for a library to be loaded.
say({ is: 'ready' });
for await (const _ of every(lookEveryMs, systemClock(), never)) {
  for (const id of movement.moved()) say({ is: 'moved', id });
}

async function answer(order: Extract<Order, { is: 'call' }>): Promise<void> {
  const { id, driver, method, args, context } = order;
  const abort = new AbortController();
  aborts.set(id, abort);
  const { signal } = abort;
  debug('call %d %s.%s', id, driver, method);
  try {
    const last = context && [driverContext(id, context, signal)];
    const work = () => methodOf(driver, method)(...args, ...(last ?? []));
    say({ is: 'answer', id, value: await movement.during(id, work) });
  } catch (error) {
    debug('call %d failed: %s', id, error);
    say({ is: 'failure', id, failure: failureOf(error, signal) });
  } finally {
    aborts.delete(id);
  }
}

function driverContext(
  id: number,
  { wantsProgress, token, ...rest }: NonNullable<Extract<Order, { is: 'call' }>['context']>,
  signal: AbortSignal,
): DriverContext {
  const onProgress = wantsProgress
    ? (progress: Progress) => say({ is: 'progress', id, progress })
    : undefined;
  const lock = token === undefined ? undefined : { token, confirm: () => confirm(id) };
  return { ...rest, signal, onProgress, lock };
}

/** Asks the daemon. It ends this process when it has ended itself, so its answer needs no limit. */
async function confirm(id: number): Promise<void> {
  // The answer to an earlier question would not do.
  if (asking.has(id)) throw new Error('a driver asks for its lock twice at once');
  const asked = Promise.withResolvers<void>();
  asking.set(id, asked);
  say({ is: 'confirm', id });
  await asked.promise;
}

function heard({ id, failure }: Extract<Order, { is: 'confirmed' }>): void {
  const asked = asking.get(id);
  asking.delete(id);
  if (failure === undefined) asked?.resolve();
  else asked?.reject(errorOf(failure));
}

type Method = (...args: readonly unknown[]) => Promise<unknown>;

/** Finds a method by its name; the daemon names only those of the port. */
function methodOf(driverName: string, name: string): Method {
  const driver = all.get(driverName);
  const [key = '', part] = name.split('.').reverse();
  const isPart = part === 'storage' || part === 'pool' || part === 'takeover' || part === 'trash';
  const owner = isPart ? driver?.[part] : driver;
  const method = owner === undefined ? undefined : Reflect.get(owner, key);
  if (typeof method !== 'function') throw new Error(`driver ${driverName} has no ${name}`);
  return (...args) => Reflect.apply(method, owner, args);
}

function say(report: Report): void {
  // After the daemon's end there is nobody to tell.
  if (process.connected) process.send?.(report, undefined, undefined, () => {});
}
