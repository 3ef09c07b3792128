import type { EngineCalls, StateFile, User } from '../../../sentinel/ports.ts';
import type { Random } from '../random.ts';
import type { Record } from './history.ts';
import type { Kernel } from './kernel.ts';
import type { SentinelPorts } from './sentinel-under-test.ts';
import type { Container, SimulatedEngine } from './simulated-engine.ts';
import { simulatedFileSystems } from './simulated-file-systems.ts';
import type { SimulatedProcess } from './simulated-process.ts';
import { simulatedScan } from './simulated-scan.ts';
import { simulatedStops } from './simulated-stops.ts';

/** Milliseconds of its own that each call costs the sentinel. */
const costMs = { look: 0.1, freeze: 0.2, hold: 0.6, kill: 0.6, ask: 0.4 };

export interface SentinelPortsOptions {
  readonly process: SimulatedProcess;
  readonly kernel: Kernel;
  readonly engine: SimulatedEngine;
  readonly file: StateFile;
  readonly random: Random;
  readonly record: Record;
  /** Is called when the sentinel decides to let a user run. */
  readonly onRelease: (user: User) => void;
  readonly extraScanMs: () => number | undefined;
  /** Is called when the sentinel's report may have changed, before anybody can run because of it. */
  readonly onReport: () => void;
}

/** Returns the ports of a sentinel on a simulated machine; each call is a step of its process. */
export function sentinelPorts(options: SentinelPortsOptions): SentinelPorts {
  const { process, kernel, random, record, extraScanMs, onReport, onRelease } = options;
  const wait = (ms: number) => process.wait(ms);
  const scan = simulatedScan({ kernel, random, wait, extraMs: extraScanMs });
  const stops = simulatedStops(kernel, record, wait);
  const fileSystems = simulatedFileSystems(kernel, random);
  const { look, freeze, hold, kill } = costMs;
  return {
    scan: {
      identitiesAt: (paths) => process.call(look, () => scan.identitiesAt(paths)),
      users: (volumes, onFound) => process.call(look, () => scan.users(volumes, onFound)),
      plainUsers: (volumes) => process.call(look, () => scan.plainUsers(volumes)),
      held: (volumes) => process.call(look, () => scan.held(volumes)),
    },
    stops: {
      standing: (user) => process.call(look, () => stops.standing(user)),
      freeze: (user) => process.call(freeze, () => stops.freeze(user)),
      hold: (user) => process.call(hold, () => stops.hold(user)),
      release: (user, keepsPause) => {
        onReport();
        onRelease(user);
        return process.call(hold, () => stops.release(user, keepsPause));
      },
      forget: (user) => process.call(hold, () => stops.forget(user)),
      isBeingKilled: (user) => process.call(look, () => stops.isBeingKilled(user)),
      isDying: (user) => process.call(look, () => stops.isDying(user)),
      kill: (user) => process.call(kill, () => stops.kill(user)),
    },
    engine: engineCalls(options),
    fileSystems: {
      flush: (fileSystem) => {
        const volume = kernel.mountAt(fileSystem.mountpoint)?.volume ?? '';
        record({ kind: 'file system', host: kernel.machine.name, volume, is: 'flushed' });
        return process.call(look, () => fileSystems.flush(fileSystem));
      },
      freeze: (fileSystem) => process.call(look, () => fileSystems.freeze(fileSystem)),
      settle: (fileSystem) => fileSystems.settle(fileSystem),
      cutOff: (fileSystem) => process.call(look, () => fileSystems.cutOff(fileSystem)),
      thaw: (fileSystem) => {
        onReport();
        return process.call(look, () => fileSystems.thaw(fileSystem));
      },
    },
    clock: kernel.machine.clockOf(process.party, onReport),
    file: stateFile(options),
    bootId: 'boot',
  };
}

/** The calls to the engine, each with its limit. The engine carries out also what is given up. */
function engineCalls({ process, engine, kernel }: SentinelPortsOptions): EngineCalls {
  const ask = <T>(limitMs: number, work: () => Promise<T>) =>
    process.call(costMs.ask, () => {
      const { promise, resolve, reject } = Promise.withResolvers<T>();
      const give = () => reject(new Error(`the engine did not answer within ${limitMs} ms`));
      const timer = kernel.machine.scheduler.after(limitMs, process.party, 'timer', give);
      const done = () => {
        timer.run = undefined;
      };
      work().then(resolve, reject).then(done, done);
      return promise;
    });
  return {
    inspect: (id, limitMs) => ask(limitMs, async () => inspected(await engine.inspect(id))),
    pause: (id, limitMs) => ask(limitMs, () => engine.pauseForBerth(id)),
    unpause: (id, limitMs) => ask(limitMs, () => engine.request(() => engine.unpause(id))),
    stop: (id, graceMs) => ask(graceMs + 2_000, () => engine.stop(id, graceMs)),
    kill: (id, limitMs) => ask(limitMs, () => engine.request(() => engine.kill(id))),
  };
}

function inspected(container: Container | undefined) {
  if (!container) return undefined;
  const { id, isPaused, isRunning } = container;
  return { name: id, isPaused, isRunning };
}

/** A state file whose process may be killed in the middle of a line. */
function stateFile({ process, file }: SentinelPortsOptions): StateFile {
  const write = (line: string, whole: () => void, torn: () => void) => {
    if (process.isGone) return false;
    process.work(0.03 + line.length / 60_000);
    if (process.step()) whole();
    else torn();
    return true;
  };
  return {
    read: () => file.read(),
    append: (line) =>
      write(
        line,
        () => file.append(line),
        () => file.append(line.slice(0, line.length / 2)),
      ),
    replace: (line) =>
      write(
        line,
        () => file.replace(line),
        () => {},
      ),
  };
}
