// What the kernel says of a process that has raised its priority. Real processes.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { getPriority } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { expect, test } from '@jest/globals';
import type { PriorityOptions, RaisedPriority } from '../../../sentinel/priority.ts';
import { describeWith } from '../../support/requirements.ts';

const module = join(import.meta.dirname, '../../../sentinel/priority.ts');
const roundRobin = '2'; // SCHED_RR

interface Seen {
  readonly granted: RaisedPriority;
  /** The values of each thread. */
  readonly nice: readonly string[];
  readonly policies: readonly string[];
  readonly oomScore: string;
  /** The value of a program that it starts afterwards. */
  readonly childNice: string;
}

/** Runs `raisePriority` in a process of its own, without the capabilities named. */
async function raised(options: PriorityOptions, without: readonly string[] = []): Promise<Seen> {
  const script = `
    const { execFileSync } = await import('node:child_process');
    const { raisePriority } = await import(${JSON.stringify(module)});
    const granted = await raisePriority(${JSON.stringify(options)});
    const child = execFileSync('cat', ['/proc/self/stat'], { encoding: 'utf8' });
    console.log(JSON.stringify({ granted, child }));
    setInterval(() => {}, 1000);`;
  const drop = without.map((name) => `-${name}`).join(',');
  const command = [process.execPath, '--input-type=module', '-e', script];
  const words = drop
    ? ['setpriv', `--bounding-set=${drop}`, `--inh-caps=${drop}`, ...command]
    : command;
  const [file = '', ...args] = words;
  await using child = ended(spawn(file, args, { stdio: ['ignore', 'pipe', 'inherit'] }));
  const [line] = await once(createInterface({ input: child.process.stdout }), 'line');
  const { granted, child: childStat } = JSON.parse(line);
  const { pid } = child.process;
  const threads = readdirSync(`/proc/${pid}/task`).map((thread) =>
    fieldsOf(readFileSync(`/proc/${pid}/task/${thread}/stat`, 'utf8')),
  );
  return {
    granted,
    nice: threads.map((fields) => fields[16] ?? ''),
    policies: threads.map((fields) => fields[38] ?? ''),
    oomScore: readFileSync(`/proc/${pid}/oom_score_adj`, 'utf8').trim(),
    childNice: fieldsOf(childStat)[16] ?? '',
  };
}

function ended<T extends { kill(signal: 'SIGKILL'): unknown }>(process: T) {
  return { process, [Symbol.asyncDispose]: async () => void process.kill('SIGKILL') };
}

/** Returns the fields after the name, from the state on (proc_pid_stat(5) counts it as field 3). */
function fieldsOf(stat: string): string[] {
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
}

describeWith(['root'], 'the priority of the sentinel', () => {
  test('is what the kernel granted, for all threads and later programs', async () => {
    const seen = await raised({ realTime: true });
    expect(seen.childNice).toBe(seen.granted.nice ? '-20' : '0');
    expect(seen.granted).toEqual({
      memory: seen.oomScore === '-900',
      nice: seen.nice.every((nice) => nice === '-20'),
      realTime: seen.policies.every((policy) => policy === roundRobin),
    });
  });

  test('is not real-time where systemd decides', async () => {
    const seen = await raised({ realTime: false });
    expect(seen.granted.realTime).toBe(false);
    expect(seen.policies).not.toContain(roundRobin);
  });

  test('stays as it is without the rights, and the sentinel starts all the same', async () => {
    const seen = await raised({ realTime: true }, ['sys_nice', 'sys_resource']);
    expect(seen.granted).toEqual({ memory: false, nice: false, realTime: false });
    expect(new Set(seen.nice)).toEqual(new Set([String(getPriority())]));
  });
});
