import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { bootNowMs } from '../../../lib/linux/boot.ts';
import { waitFor } from '../../support/processes.ts';
import type { EngineNode } from '../hosts/cluster.ts';

export interface ClockWriterOptions {
  readonly name: string;
  readonly volume: string;
  readonly everyMs?: number;
  /** A shell command that runs before the writing starts. */
  readonly first?: string;
  /** Further flags of `docker run`. */
  readonly flags?: readonly string[];
  /** The path by which the test reads the file; by default, below the mountpoint on its host. */
  readonly log?: string;
}

/**
 * A container that writes lines to the volume's file `log` until a write fails: a number, the time
 * since boot (the clock that it shares with the test), and its name.
 */
export interface ClockWriter {
  readonly name: string;
  readonly volume: string;
  /** The state as `docker ps` shows it. */
  state(): Promise<string>;
  waitUntil(state: string, limitMs: number): Promise<void>;
  /** Returns a value that changes when the engine starts the container again. */
  incarnation(): Promise<string>;
  exitCode(): Promise<number>;
  /** Returns when the container ended, by `bootNowMs`. */
  endedAtMs(): Promise<number>;
  /**
   * Returns the times of its lines, by `bootNowMs`. Throws when a line is missing or out of order.
   */
  times(): Promise<number[]>;
  lastWriteMs(): Promise<number>;
  waitUntilItWrites(limitMs?: number): Promise<void>;
}

export async function startClockWriter(
  node: EngineNode,
  options: ClockWriterOptions,
): Promise<ClockWriter> {
  const { name, volume, everyMs = 20, first = '' } = options;
  const write = `read t _ < /proc/uptime && echo $n $t ${name}`;
  const loop = `n=0; while ${write}; do n=$((n+1)); usleep ${everyMs}000; done`;
  const flags = ['-d', '--name', name, '--stop-timeout', '0', '-v', `${volume}:/data`];
  const further = options.flags ?? [];
  await node.dockerOk(
    'run',
    ...flags,
    ...further,
    'busybox',
    'sh',
    '-c',
    `exec >> /data/log; ${first}\n${loop}`,
  );
  const writer = clockWriter(node, options);
  await writer.waitUntilItWrites();
  return writer;
}

function clockWriter(node: EngineNode, options: ClockWriterOptions): ClockWriter {
  const { name, volume } = options;
  const log = options.log ?? node.host.pathOf(join(node.mountpoint(volume), 'log'));
  const inspect = (format: string) => node.dockerOk('inspect', '-f', format, name);
  const state = () => inspect('{{.State.Status}}');

  const times = async () => timesOf(await readFile(log, 'utf8'), name);
  const lastWriteMs = async () => (await times()).at(-1) ?? Number.NaN;
  return {
    name,
    volume,
    state,
    waitUntil: async (wanted, limitMs) => {
      const isThere = async () => (await state()) === wanted;
      await waitFor(isThere, limitMs, `${name} to be ${wanted}`).catch(async (error) => {
        throw new Error(`container ${name} is ${await state()}`, { cause: error });
      });
    },
    incarnation: () => inspect('{{.Id}} {{.State.StartedAt}} {{.RestartCount}}'),
    exitCode: async () => Number(await inspect('{{.State.ExitCode}}')),
    endedAtMs: async () => {
      const agoMs = Date.now() - Date.parse(await inspect('{{.State.FinishedAt}}'));
      return bootNowMs() - agoMs;
    },
    times,
    lastWriteMs,
    waitUntilItWrites: async (limitMs = 5_000) => {
      const since = bootNowMs();
      await waitFor(async () => (await lastWriteMs()) > since, limitMs, `${name} to write`);
    },
  };
}

/**
 * Returns the times of a writer's lines in a log. Throws when a line is missing or out of order.
 */
export function timesOf(log: string, name: string): number[] {
  const lines = log.split('\n').slice(0, -1); // The last line may be incomplete.
  const own = lines.map((line) => line.split(' ')).filter(([, , writer]) => writer === name);
  return own.map(([number, seconds], index) => {
    if (Number(number) !== index) throw new Error(`${name} wrote line ${number} as its ${index}th`);
    return Math.round(Number(seconds) * 1000);
  });
}

/** Returns the longest time without a write: from one write to the next, by `bootNowMs`. */
export function longestGap(times: readonly number[]): { fromMs: number; toMs: number } {
  const gaps = times.slice(1).map((toMs, index) => ({ fromMs: times[index] ?? toMs, toMs }));
  return gaps.reduce((one, other) =>
    other.toMs - other.fromMs > one.toMs - one.fromMs ? other : one,
  );
}

/** Returns the length of the longest time without a write. */
export function longestGapMs(times: readonly number[]): number {
  const { fromMs, toMs } = longestGap(times);
  return toMs - fromMs;
}
