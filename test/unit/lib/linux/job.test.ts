// A job where this process may not make control groups: real processes.
// test/e2e/command/jobs-under-lock.test.ts has jobs with a group.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, test } from '@jest/globals';
import { treeJob } from '../../../../lib/linux/job.ts';
import { eventually } from '../../../support/eventually.ts';

/** Starts a shell with two processes below it, one of them below the other. */
function startTree() {
  const job = treeJob();
  const child = spawn('sh', ['-c', 'sh -c "sleep 60; :" & wait'], { stdio: 'ignore' });
  job.start(() => child.pid);
  return { job, child, exited: once(child, 'exit') };
}

test.each(['signal', 'kill'] as const)(
  'F2b a job without a control group is ended with all that descends from it by %s',
  async (how) => {
    const { job, child, exited } = startTree();
    await eventually(() => expect(job.processes()).toHaveLength(3));
    expect(job.processes()[0]).toBe(child.pid);
    if (how === 'kill') await job.kill();
    else job.signal('SIGTERM');
    await exited;
    await eventually(() => expect(job.processes()).toEqual([]));
  },
);

test('F2b a job that was never started has no processes', () => {
  expect(treeJob().processes()).toEqual([]);
});
