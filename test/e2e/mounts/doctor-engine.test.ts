// The doctor on a host with a real engine, whose containers decide which mounts are in use.
import { expect, test } from '@jest/globals';
import { describePlugged, embeddedVariants, nothing } from '../../support/plugged-host.ts';

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
});
