// The doctor on a host with a real engine, whose containers decide which mounts are in use.
import { readFile, rm } from 'node:fs/promises';
import { expect, test } from '@jest/globals';
import {
  childOf,
  controlGroupIn,
  makeGroup,
  moveTo,
  ownProcesses,
  setFrozen,
} from '../../../lib/linux/control-group.ts';
import { readMounts } from '../../../lib/linux/mountinfo.ts';
import { describePlugged, embeddedVariants, nothing } from '../../support/plugged-host.ts';
import { waitFor } from '../../support/processes.ts';

describePlugged('berth doctor with an engine', { variants: embeddedVariants.slice(1) }, (on) => {
  test('the doctor drops a vanished mount only if no container uses the volume', async () => {
    const { docker, start, host, berth, left } = on();
    for (const name of ['used', 'unused']) {
      await docker('volume', 'create', '-d', 'berth', name);
      await start(`with-${name}`, '-v', `${name}:/p`);
    }
    // The container vanishes without an Unmount, as after an engine crash.
    await berth.stop();
    await docker('rm', '-f', 'with-unused');
    await berth.start();
    const stateDir = `${host.directory}/berth`;
    for (const name of ['used', 'unused'])
      await host.exec('umount', [`${stateDir}/mounts/${name}`]);

    const { code, stdout } = await berth.berth('doctor', '--fix');
    expect(code).toBe(1);
    expect(stdout).toMatch(
      /^used is mounted .* could not be fixed: a container uses volume used; or restart/m,
    );
    const { mounts } = JSON.parse(await berth.berthOk('status', '--json'));
    expect(mounts).toMatchObject([{ volume: 'used', lock: 'held' }]);

    await docker('rm', '-f', 'with-used');
    expect(await berth.berthOk('doctor')).toBe('nothing is wrong');
    await docker('volume', 'rm', 'used', 'unused');
    expect(await left()).toEqual(nothing);
  });

  test('a container that stands still for a lost sentinel is named, and freed by a fix', async () => {
    const { docker, start, host, berth, inspect } = on();
    await docker('volume', 'create', '-d', 'berth', 'lost');
    await start('stuck', '-v', 'lost:/p');
    await hold(Number(await inspect('stuck', '{{.State.Pid}}')));
    // berth forgets the mount, too: with it, the next sentinel would take the container over.
    await berth.stop();
    await host.exec('umount', [`${host.directory}/berth/mounts/lost`]);
    await rm(`${host.directory}/berth/mounts.json`);
    await berth.start();

    const found = await berth.berth('doctor');
    expect(found.code).toBe(1);
    expect(found.stdout).toMatch(
      /^container stuck \([0-9a-f]{12}\) stands still .*since .*doctor --fix ends it.*kill -9/m,
    );
    expect(await inspect('stuck', '{{.State.Status}}')).toBe('running');
    const { code, stdout } = await berth.berth('doctor', '--fix');
    expect(stdout).toMatch(/^fixed: container stuck/m);
    expect(code).toBe(0);
    const isEnded = async () => (await inspect('stuck', '{{.State.Status}}')) === 'exited';
    await waitFor(isEnded, 10_000, 'the container to end');
    await docker('start', 'stuck');
    expect(await berth.berthOk('doctor')).toBe('nothing is wrong');
    await docker('rm', '-f', 'stuck');
    await docker('volume', 'rm', 'lost');
  });
});

/** Holds a container as a sentinel does whose state is lost afterwards. */
async function hold(pid: number): Promise<void> {
  const text = await readFile(`/proc/${pid}/cgroup`, 'utf8');
  const group = controlGroupIn(text, await readMounts());
  if (!group) throw new Error(`process ${pid} is in no control group`);
  const held = childOf(group, 'berth-held');
  makeGroup(held);
  setFrozen(held, true);
  for (const each of ownProcesses(group)) moveTo(held, each);
}
