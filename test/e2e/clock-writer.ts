import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { bootNowMs } from '../../plugin/sentinel/boot-clock.ts';
import { waitFor } from '../support/processes.ts';
import type { EngineNode } from './cluster.ts';

export interface ClockWriterOptions {
  readonly name: string;
  readonly volume: string;
  readonly everyMs?: number;
  /** What the shell runs first. */
  readonly first?: string;
  /** Further flags of `docker run`. */
  readonly flags?: readonly string[];
}

/**
 * A container that numbers its lines in the volume's file `log` and writes the time since boot on
 * each, over and over, by the one clock that it shares with the test. It ends when a write fails.
 */
export interface ClockWriter {
  readonly name: string;
  readonly volume: string;
  /** As `docker ps` has it. */
  state(): Promise<string>;
  waitUntil(state: string, limitMs: number): Promise<void>;
  /** Changes when the engine starts the container again. */
  incarnation(): Promise<string>;
  exitCode(): Promise<number>;
  /** When it ended, by `bootNowMs`. */
  endedAtMs(): Promise<number>;
  lines(): Promise<string[]>;
  /** When it wrote each of its lines, by `bootNowMs`. Throws when one is missing or out of order. */
  times(): Promise<number[]>;
  lastWriteMs(): Promise<number>;
  waitUntilItWrites(limitMs?: number): Promise<void>;
}

export async function startClockWriter(
  node: EngineNode,
  { name, volume, everyMs = 20, first = '', flags = [] }: ClockWriterOptions,
): Promise<ClockWriter> {
  const loop = `n=0; while read t _ < /proc/uptime && echo $n $t; do n=$((n+1)); usleep ${everyMs}000; done`;
  const script = `exec >> /data/log; ${first}\n${loop}`;
  const all = ['-d', '--name', name, '--stop-timeout', '0', '-v', `${volume}:/data`, ...flags];
  await node.dockerOk('run', ...all, 'busybox', 'sh', '-c', script);
  const writer = clockWriter(node, name, volume);
  await writer.waitUntilItWrites();
  return writer;
}

export function clockWriter(node: EngineNode, name: string, volume: string): ClockWriter {
  const inspect = (format: string) => node.dockerOk('inspect', '-f', format, name);
  const state = () => inspect('{{.State.Status}}');

  async function lines(): Promise<string[]> {
    const path = node.host.pathOf(join(node.mountpoint(volume), 'log'));
    return writtenLines(await readFile(path, 'utf8'));
  }
  const times = async () => timesOf(await lines());
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
    lines,
    times,
    lastWriteMs,
    waitUntilItWrites: async (limitMs = 5_000) => {
      const since = bootNowMs();
      await waitFor(async () => (await lastWriteMs()) > since, limitMs, `${name} to write`);
    },
  };
}

/** Whole lines only: one may just be being written. */
export function writtenLines(text: string): string[] {
  return text.split('\n').slice(0, -1);
}

/** Of the lines of one writer. */
export function timesOf(lines: readonly string[]): number[] {
  const clocked = lines.filter((line) => /^\d+ \d+\.\d\d$/.test(line));
  return clocked.map((line, index) => {
    const [number, seconds] = line.split(' ').map(Number);
    if (number !== index) throw new Error(`line ${index} has number ${number}`);
    return Math.round((seconds ?? Number.NaN) * 1000);
  });
}

/** The longest time without a write. */
export function longestGapMs(times: readonly number[]): number {
  return Math.max(...times.slice(1).map((time, index) => time - (times[index] ?? time)));
}
