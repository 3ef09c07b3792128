// What a real engine (26.1) does to a managed plugin when a Mount is too slow, and when the engine
// itself ends. Real time.
import { cp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { repository } from '../../support/berth.ts';
import { isAlive } from '../../support/host-processes.ts';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import { embeddedView } from '../../support/store-view.ts';
import type { TemporaryDirectory } from '../../support/temporary-directory.ts';
import { makeTemporaryDirectory } from '../../support/temporary-directory.ts';
import type { ManagedHost } from '../managed/managed-host.ts';
import { buildPlugin, pluginName as plugin, startManagedHost } from '../managed/managed-host.ts';

describeWith(['docker'], 'a managed plugin and its engine', () => {
  let temporary: TemporaryDirectory;
  let on: ManagedHost;
  const locks = () => embeddedView(join(on.stateDir, 'berth.db')).locks();
  const isEnabled = () => on.docker('plugin', 'inspect', '-f', '{{.Enabled}}', plugin);

  beforeAll(async () => {
    temporary = await makeTemporaryDirectory();
    const built = await buildPlugin(temporary.path);
    await slowDown(join(built, 'rootfs'));
    on = await startManagedHost({ docker: '26.1', plugin: built });
    await on.docker('plugin', 'enable', '--timeout', '2', plugin);
  });
  afterAll(async () => {
    await on?.[Symbol.asyncDispose]();
    await temporary[Symbol.asyncDispose]();
  });

  async function expectNothing(volume: string): Promise<void> {
    const isUndone = async () =>
      (await locks()).length === 0 &&
      !(volume in (await on.table())) &&
      (await on.mounted()).length === 0;
    await waitFor(isUndone, 5_000, 'the roll-back of the Mount');
  }

  test("scenario 36: a Mount slower than the engine's time limit is stopped and rolled back", async () => {
    await on.docker('volume', 'create', '-d', plugin, 'slow');
    await writeFile(join(on.volumeDir, 'slow-mount'), '');
    await on.dockerFails('run', '--rm', '-v', 'slow:/p', 'busybox', 'true');
    await expectNothing('slow');
    await rm(join(on.volumeDir, 'slow-mount'));
    // On a busy machine an engine may lose what a container prints at its very end.
    await on.run('slow:/p', 'echo data > /p/file');
    expect(await readFile(join(on.volumeDir, 'directory/slow/data/file'), 'utf8')).toBe('data\n');
    await expectNothing('slow');
    await on.docker('volume', 'rm', 'slow');
  });

  test('scenario 36: a Mount that waits for its lock longer than the engine does is withdrawn and leaves nothing', async () => {
    await on.docker('volume', 'create', '-d', plugin, 'held');
    await using holder = on.host.spawn(
      join(repository, 'bin/berth'),
      ['lock', 'run', 'held', '--', 'sleep', '1000'],
      { env: { BERTH_ADMIN_SOCKET: join(on.stateDir, 'admin.sock') } },
    );
    await waitFor(async () => (await locks()).length === 2, 10_000, 'the locks to be held');
    await on.dockerFails('run', '--rm', '-v', 'held:/p', 'busybox', 'true');
    const isGivenUp = async () => (await locks()).join() === 'mount/held,snapshot/held';
    await waitFor(isGivenUp, 5_000, 'the request to be withdrawn');
    await holder.stop();
    await expectNothing('held');
    expect(await on.run('held:/p', 'echo data > /p/file; cat /p/file')).toBe('data');
    await on.docker('volume', 'rm', 'held');
  });

  // Must be the last test: it leaves the plugin disabled.
  test('scenarios 19 and 20: the plugin ends with its engine, and starts with it again unless it was disabled', async () => {
    await on.docker('volume', 'create', '-d', plugin, 'known');
    const pid = await on.daemonPid();
    await on.host.killEngine('SIGTERM');
    expect(await isAlive(pid)).toBe(false);
    await on.host.startEngine();
    expect(await isEnabled()).toBe('true');
    expect(await on.run('known:/p', 'echo data > /p/file; cat /p/file')).toBe('data');

    await on.docker('plugin', 'disable', '--force', plugin);
    await on.host.killEngine('SIGTERM');
    await on.host.startEngine();
    expect(await isEnabled()).toBe('false');
    expect(await on.docker('volume', 'ls', '-q')).toBe('');
  });
});

/** Makes the plugin's `mount` wait as long as a file exists. */
async function slowDown(rootfs: string): Promise<void> {
  // Without koffi's library berth mounts by the program.
  await rm(join(rootfs, 'opt/berth/node_modules/@koromix'), { recursive: true });
  const programs = join(rootfs, 'usr/bin');
  await cp('/usr/bin/sleep', join(programs, 'sleep'), { dereference: true });
  await rename(join(programs, 'mount'), join(programs, 'mount.real'));
  const script = 'while [ -e /srv/berth/slow-mount ]; do sleep 0.05; done; exec mount.real "$@"';
  await writeFile(join(programs, 'mount'), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
}
