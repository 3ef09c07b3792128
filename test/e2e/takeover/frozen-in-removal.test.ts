// A host is frozen in its Remove, its restore or its snapshot of a volume, before each step in turn, and goes
// on when another host has the volume. What the other one could mount, with what it wrote since, and the
// snapshot that it made are there afterwards.

import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { drivers } from '../../../lib/volumes/drivers/registry.ts';
import { NotFoundError } from '../../../lib/volumes/errors.ts';
import { makeFileSystem } from '../../support/loop-fs.ts';
import { runOk, waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import type { StoppedWork } from './stopped-at-step.ts';
import { isStopped, startStoppedHost, unmountAll } from './stopped-host.ts';

const never = { signal: new AbortController().signal };
const context = { ...never, lock: { token: 9, confirm: async () => {} } };
const noFormer = { host: 'n1', owner: 'machine.n1', addresses: [], mark: 'mark', token: 5 };

/** More than any of the works has. */
const mostSteps = 40;

type Does = Exclude<StoppedWork['does'], 'takeover'>;

describeWith(['root', 'loop'], 'a host that is frozen while it takes something away', () => {
  test.each([
    ['directory', 'remove'],
    ['directory', 'restore'],
    ['directory', 'snapshot'],
    ['image', 'remove'],
    ['image', 'snapshot'],
  ] as const)('of driver %s takes nothing of its successor: %s', async (name, does) => {
    await using pool = await makeFileSystem('xfs', 1_000);
    await runOk('mount', ['--make-shared', pool.path]);
    const steps: string[] = [];
    for (let stopBefore = 1; stopBefore <= mostSteps; stopBefore += 1) {
      const step = await frozenBefore(stopBefore, name, does, pool.path);
      if (step === undefined) break;
      steps.push(step);
    }
    process.stderr.write(`${name} ${does}: ${steps.length} steps\n${steps.join('\n')}\n`);
    expect(steps.length).toBeLessThan(mostSteps);
    expect(steps.some((step) => /^(rename|link) /.test(step))).toBe(true);
    // Both answers of the store are seen after a step that counts.
    expect(steps.map((step) => step.split(' ')[0])).toContain('confirm');
  });
});

/** Returns the step before which the host was frozen; undefined if it has fewer steps. */
async function frozenBefore(
  stopBefore: number,
  name: StoppedWork['driver'],
  does: Does,
  directory: string,
): Promise<string | undefined> {
  await using stack = new AsyncDisposableStack();
  const volumeDir = join(directory, 'volumes');
  const driver = (await drivers({ volumeDir })).get(name);
  if (!driver) throw new Error(`no driver ${name}`);
  const options = driver.parseOptions(name === 'image' ? { size: '16M' } : {});
  const volume = { name: 'db', options };
  const [mountpoint, lost] = [join(directory, 'mounted'), join(directory, 'lost')];
  stack.defer(() => rm(volumeDir, { recursive: true, force: true }));
  stack.defer(() => rm(lost, { force: true }));
  stack.defer(() => unmountAll(mountpoint));
  const state = join(mountpoint, 'state');
  const write = async (text: string) => {
    await driver.mount(volume, mountpoint, context);
    await writeFile(state, text, { flush: true });
    await driver.unmount(volume, mountpoint, context);
  };
  const snapshot = { volume, snapshot: 'monday' };
  await driver.create(volume, context);
  await write('first');
  if (does !== 'remove') await driver.snapshot(snapshot, context);
  await write('second');

  const former = { ...noFormer, since: '2026-01-02T03:04:05.000Z' };
  const work = { driver: name, does, volumeDir, options, mountpoint, former, token: 7, lost };
  await using host = startStoppedHost({ ...work, stopBefore });
  await waitFor(async () => host.hasExited || (await isStopped(host)), 30_000, 'the step');
  if (host.hasExited) {
    expect((await host.finished).code).toBe(0); // Nothing stood in its way: it did all its work.
    return undefined;
  }
  const step = host.output().trim();
  const where = `frozen before: ${step}`;
  await writeFile(lost, '');

  const mounted = await driver.mount(volume, mountpoint, context).then(
    () => true,
    (error) => {
      if (error instanceof NotFoundError) return false;
      throw error;
    },
  );
  if (mounted) {
    await writeFile(state, 'of the successor', { flush: true });
    if (does === 'snapshot') {
      await driver.removeSnapshot({ ...snapshot, mountpoint }, context);
      await driver.snapshot({ ...snapshot, mountpoint }, context);
    }
  }
  host.kill('SIGCONT');
  await host.finished;
  if (!mounted) {
    // It was taken away under the lock, or it is back: nothing in between.
    const isThere = (await driver.storage.find('db')) !== undefined;
    if (!isThere) expect([where, does]).toEqual([where, 'remove']);
    else await driver.mount(volume, mountpoint, context);
    if (isThere) expect([where, await readFile(state, 'utf8')]).toEqual([where, 'second']);
    return step;
  }
  expect([where, await readFile(state, 'utf8')]).toEqual([where, 'of the successor']);
  await driver.unmount(volume, mountpoint, context);
  if (does === 'snapshot') {
    await write('later');
    await driver.restore(snapshot, context);
  }
  await driver.mount(volume, mountpoint, context);
  expect([where, await readFile(state, 'utf8')]).toEqual([where, 'of the successor']);
  return step;
}
