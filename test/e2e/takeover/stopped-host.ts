// The process of a host that stands still in the middle of its work, and what it has mounted.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { RunningProcess } from '../../support/processes.ts';
import { runOk, startProcess } from '../../support/processes.ts';
import type { StoppedWork } from './stopped-at-step.ts';

export function startStoppedHost(work: StoppedWork): RunningProcess {
  const program = join(import.meta.dirname, 'stopped-at-step.ts');
  return startProcess(process.execPath, [program, JSON.stringify(work)]);
}

export async function isStopped({ pid }: RunningProcess): Promise<boolean> {
  const status = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  return / T /.test(status.slice(status.lastIndexOf(')')));
}

export async function isMounted(path: string): Promise<boolean> {
  return (await readFile('/proc/self/mountinfo', 'utf8')).includes(` ${path} `);
}

export async function unmountAll(path: string): Promise<void> {
  while (await isMounted(path)) await runOk('umount', [path]);
}
