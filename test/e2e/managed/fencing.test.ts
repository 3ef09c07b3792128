// The managed plugin fences from inside its own mount namespace. A real engine (26.1) and etcd;
// time is real, with a TTL of 5 s.

import { expect, test } from '@jest/globals';
import { startEtcd } from '../../support/etcd-server.ts';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import { makeTemporaryDirectory } from '../../support/temporary-directory.ts';
import { buildPlugin, pluginName as plugin, startManagedHost } from './managed-host.ts';

describeWith(['docker', 'etcd'], 'the managed plugin, cut off from its store', () => {
  test('freezes its containers in a group of its own, and resumes them when the store answers again', async () => {
    await using temporary = await makeTemporaryDirectory();
    const directory = await buildPlugin(temporary.path);
    await using on = await startManagedHost({ docker: '26.1', plugin: directory });
    await using etcd = await startEtcd({ in: on.host });
    await on.docker('plugin', 'set', plugin, `BERTH_STORE=${etcd.url}`, 'BERTH_TTL=5s');
    await on.docker('plugin', 'enable', plugin);
    await on.docker('volume', 'create', '-d', plugin, 'shared');
    await on.start('user', 'shared');
    const status = () => on.docker('inspect', '-f', '{{.State.Status}}', 'user');
    const becomes = (wanted: string, limitMs: number) =>
      waitFor(async () => (await status()) === wanted, limitMs, `the container to be ${wanted}`);
    const pid = Number(await on.docker('inspect', '-f', '{{.State.Pid}}', 'user'));
    const groupOf = () => on.host.execOk('cat', `/proc/${pid}/cgroup`);
    expect(await groupOf()).not.toContain('berth-held');

    await etcd.kill();
    await becomes('paused', 10_000);
    // Beyond the engine's pause, the container is frozen in the sentinel's own group.
    await waitFor(
      async () => (await groupOf()).includes('berth-held'),
      2_000,
      'the container to move to the group',
    );
    await etcd.restart();
    await becomes('running', 15_000);
    // The engine reports the container as running a moment before the sentinel moves it back.
    await waitFor(
      async () => !(await groupOf()).includes('berth-held'),
      5_000,
      'the container to be released',
    );
    expect(await on.exec('user', 'echo on > /p/file; cat /p/file')).toBe('on');
    await on.docker('rm', '-f', 'user');
    await on.docker('volume', 'rm', 'shared');
  });
});
