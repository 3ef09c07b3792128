// A host is frozen inside its own takeover (or restore) of an image, before each of its steps in turn.
// Its successor takes the volume over, mounts it and writes; then the host goes on. Real processes, real
// mounts, one pool with reflinks. The store is a file that says who has the lock.

import { readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { imageDriver } from '../../../lib/volumes/drivers/image/driver.ts';
import { makeFileSystem } from '../../support/loop-fs.ts';
import { runOk, waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import { isMounted, isStopped, startStoppedHost, unmountAll } from './stopped-host.ts';

const never = { signal: new AbortController().signal };
const former = (host: string, token: number) => ({
  ...{ host, owner: `machine.${host}`, addresses: [], mark: `mark-${token}`, token },
  since: '2026-01-02T03:04:05.000Z',
});
const first = former('n1', 5);
const frozen = former('n2', 7);
const successor = { token: 9, confirm: async () => {} };

/** More than any of the works has. */
const mostSteps = 60;

describeWith(
  ['root', 'loop'],
  'a host that is frozen in the middle of its work on an image',
  () => {
    test.each(['takeover', 'restore'] as const)(
      'harms nothing of its successor, before whichever step of its %s it is frozen',
      async (does) => {
        await using pool = await makeFileSystem('xfs', 1_000);
        // The mount namespaces of other tests have copies of this mount: they must end with it.
        await runOk('mount', ['--make-shared', pool.path]);
        const volumeDir = join(pool.path, 'volumes');
        const steps: string[] = [];
        for (let stopBefore = 1; stopBefore <= mostSteps; stopBefore += 1) {
          const step = await frozenBefore(stopBefore, does, pool.path, volumeDir);
          if (step === undefined) break;
          steps.push(step);
        }
        process.stderr.write(`${does}: ${steps.length} steps\n${steps.join('\n')}\n`);
        const names = steps.map((step) => step.split(' ')[0]);
        expect(names).toContain('rename');
        expect(steps.length).toBeLessThan(mostSteps);
        if (does === 'takeover') expect(steps.some((step) => step.includes('mount'))).toBe(true);
      },
    );
  },
);

/** Returns the step before which the host was frozen; undefined if it has fewer steps. */
async function frozenBefore(
  stopBefore: number,
  does: 'takeover' | 'restore',
  directory: string,
  volumeDir: string,
): Promise<string | undefined> {
  await using stack = new AsyncDisposableStack();
  const driver = imageDriver({ volumeDir });
  const options = driver.parseOptions({ size: '16M' });
  const volume = { name: 'db', options };
  const at = (name: string) => join(directory, name);
  const mounted = async (name: string) => {
    stack.defer(() => unmountAll(at(name)));
    await driver.mount(volume, at(name), { ...never, lock: successor });
  };
  stack.defer(() => rm(volumeDir, { recursive: true, force: true }));
  await driver.create(volume, never);
  await driver.mount(volume, at('one'), { ...never, lock: { ...successor, token: 5 } });
  await writeFile(join(at('one'), 'before'), 'kept', { flush: true });
  const lost = at('lost');
  stack.defer(() => rm(lost, { force: true }));
  if (does === 'restore') {
    await driver.unmount(volume, at('one'), never);
    await driver.snapshot({ volume, snapshot: 'monday' }, never);
  } else stack.defer(() => unmountAll(at('one')));
  const work = {
    driver: 'image' as const,
    does,
    volumeDir,
    options,
    mountpoint: at('two'),
    former: first,
    token: 7,
    lost,
  };
  await using host = startStoppedHost({ ...work, stopBefore });
  stack.defer(() => unmountAll(at('two')));
  await waitFor(async () => host.hasExited || (await isStopped(host)), 30_000, 'the step');
  if (host.hasExited) {
    expect((await host.finished).code).toBe(0); // Nothing stood in its way: it did all its work.
    return undefined;
  }
  const step = host.output().trim();

  await writeFile(lost, '');
  const context = { ...never, lock: successor };
  if (does === 'takeover') {
    await driver.takeover?.takeOver(volume, first, context);
    await driver.takeover?.takeOver(volume, frozen, context);
  }
  await mounted('three');
  await writeFile(join(at('three'), 'mine'), 'of the successor', { flush: true });
  // As after a successor of a release without stages: only the store tells the frozen host the truth.
  if (does === 'takeover') await rm(join(volumeDir, 'image/db/.stage-9'), { recursive: true });
  const image = join(volumeDir, 'image/db/volume.img');
  const { ino } = await stat(image);
  host.kill('SIGCONT');
  await host.finished;
  for (const stale of ['one', 'two'].filter(() => does === 'takeover')) {
    if (await isMounted(at(stale))) {
      await writeFile(join(at(stale), 'late'), Buffer.alloc(2 ** 16, 1), { flush: true });
    }
  }
  const where = `frozen before: ${step}`;
  expect([where, (await stat(image)).ino]).toEqual([where, ino]);
  const seen = async () => ({
    names: (await readdir(at('three'))).filter((name) => name !== 'lost+found').sort(),
    mine: await readFile(join(at('three'), 'mine'), 'utf8'),
  });
  const expected = { names: ['before', 'mine'], mine: 'of the successor' };
  expect([where, await seen()]).toEqual([where, expected]);
  await driver.unmount(volume, at('three'), never);
  await runOk('e2fsck', ['-fn', image]);
  await driver.mount(volume, at('three'), context);
  expect([where, await seen()]).toEqual([where, expected]);
  return step;
}
