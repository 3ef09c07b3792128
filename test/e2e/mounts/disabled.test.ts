// What an engine and its user see of a volume that an operator disabled. Real engines and
// containers.
import { expect, test } from '@jest/globals';
import { describePlugged, mixedVariants, nothing } from '../../support/plugged-host.ts';
import { waitFor } from '../../support/processes.ts';

describePlugged('disabled volumes', { variants: mixedVariants }, (on) => {
  const refusal =
    /volume db is disabled by host \S+ since 20\d\d-\S+Z \(upgrade\); enable it again with: berth lock enable db/;

  test('a running container keeps a disabled volume; no container can start with it until it is enabled', async () => {
    const { docker, dockerFails, start, run, mounted, berth, host } = on();
    await docker('volume', 'create', '-d', 'berth', 'db');
    await start('using', '-v', 'db:/p');
    const write = (word: string) =>
      docker('exec', 'using', 'sh', '-c', `echo ${word} >> /p/file; cat /p/file`);
    await berth.berthOk('lock', 'disable', 'db', '--why', 'upgrade');

    const started = performance.now();
    expect(await dockerFails('run', '--rm', '-v', 'db:/p', 'busybox', 'true')).toMatch(refusal);
    // Much shorter than the wait for a holder.
    expect(performance.now() - started).toBeLessThan(25_000);
    const [inspected] = JSON.parse(await docker('volume', 'inspect', 'db'));
    expect(inspected.Status.disabled).toMatchObject({ host: host.name, why: 'upgrade' });
    const held = await berth.berth('lock', 'run', 'db', '--', 'true');
    expect(held).toMatchObject({ code: 4, stderr: expect.stringMatching(refusal) });
    const snapshot = await berth.berth('snapshot', 'create', 'db@monday');
    expect(snapshot).toMatchObject({ code: 4, stderr: expect.stringMatching(refusal) });

    // A restart of the daemon changes nothing.
    await berth.stop();
    await berth.start();
    const { mounts } = JSON.parse(await berth.berthOk('status', '--json'));
    expect(mounts).toMatchObject([{ volume: 'db', lock: 'held' }]);
    expect(await write('word')).toBe('word');
    // docker cp uses the running container's own mount ID.
    await docker('cp', 'using:/p/file', `${host.directory}/copy`);
    expect(await write('again')).toBe('word\nagain');
    expect(await dockerFails('run', '--rm', '-v', 'db:/p', 'busybox', 'true')).toMatch(refusal);
    expect(await mounted()).toEqual(['db']);

    await docker('stop', 'using');
    await waitFor(async () => (await mounted()).length === 0, 5_000, 'the unmount');
    expect(JSON.parse(await berth.berthOk('lock', 'ls', '--json')).tickets).toEqual([]);
    expect(await dockerFails('start', 'using')).toMatch(refusal);
    await docker('rm', 'using');
    expect(await dockerFails('volume', 'rm', 'db')).toMatch(refusal);

    await berth.berthOk('lock', 'enable', 'db');
    expect(await run(['-v', 'db:/p'], 'cat /p/file')).toBe('word\nagain');
    await docker('volume', 'rm', 'db');
    expect(await on().left()).toEqual(nothing);
  });
});
