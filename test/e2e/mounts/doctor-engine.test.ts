// The doctor on a host with an engine, whose containers decide what is in use.
import { expect, jest, test } from '@jest/globals';
import { describePlugged, embeddedVariants, nothing } from '../../support/plugged-host.ts';

jest.setTimeout(60_000);

describePlugged('berth doctor with an engine', { variants: embeddedVariants.slice(1) }, (on) => {
  test('lets go of a mount that is gone only when no container has it', async () => {
    const { docker, start, host, berth, left } = on();
    for (const name of ['used', 'unused']) {
      await docker('volume', 'create', '-d', 'berth', name);
      await start(`with-${name}`, '-v', `${name}:/p`);
    }
    // The container is gone without a word to the plugin, as after a crash of the engine.
    await berth.stop();
    await docker('rm', '-f', 'with-unused');
    await berth.start();
    const stateDir = `${host.directory}/berth`;
    for (const name of ['used', 'unused'])
      await host.exec('umount', [`${stateDir}/mounts/${name}`]);

    const { code, stdout } = await berth.berth('doctor', '--fix');
    expect(code).toBe(1);
    expect(stdout).toMatch(
      /^used is held .* could not be fixed: a container uses volume used; or start/m,
    );
    const { mounts } = JSON.parse(await berth.berthOk('status', '--json'));
    expect(mounts).toMatchObject([{ volume: 'used', lock: 'held' }]);

    await docker('rm', '-f', 'with-used');
    expect(await berth.berthOk('doctor')).toBe('nothing is wrong');
    await docker('volume', 'rm', 'used', 'unused');
    expect(await left()).toEqual(nothing);
  });
});
