// Sockets opened by systemd (systemd-socket-activate): they outlive every daemon, and no request is
// refused. Real daemon with the embedded store; no Docker engine.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { ActivatedBerth } from '../../support/activated-berth.ts';
import { adminPath, dockerPath, startActivatedBerth } from '../../support/activated-berth.ts';
import { berthFlags, repository } from '../../support/berth.ts';
import { callPlugin } from '../../support/plugin-call.ts';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import type { BareHost } from '../hosts/bare-host.ts';
import { startBareHost } from '../hosts/bare-host.ts';

const mountId = 'a'.repeat(64);
const done = { status: 200, body: { Err: '' } };

describeWith(['root', 'systemd'], 'a daemon on sockets of systemd', () => {
  let host: BareHost;
  let berth: ActivatedBerth;
  beforeAll(async () => {
    host = await startBareHost('n1');
    berth = await startActivatedBerth(host);
  });
  afterAll(async () => {
    await berth?.[Symbol.asyncDispose]();
    await host?.[Symbol.asyncDispose]();
  });

  const call = (method: string, body?: object) =>
    callPlugin(host.pathOf(dockerPath), method, body ?? {});
  const isThere = async (path: string) => (await host.exec('test', ['-S', path])).code === 0;

  test('the first request starts the daemon and is answered', async () => {
    expect(await call('Plugin.Activate')).toMatchObject({ body: { Implements: ['VolumeDriver'] } });
    expect(await call('VolumeDriver.Create', { Name: 'db' })).toEqual(done);
    const status = await host.exec(join(repository, 'bin/berth'), ['status', '--json']);
    expect(JSON.parse(status.stdout)).toMatchObject({ host: 'n1', volumes: 1 });
  });

  test('after SIGKILL, the next daemon answers the requests that queued meanwhile', async () => {
    const caught = await slowMount('db');
    const inFlight = call('VolumeDriver.Mount', { Name: 'db', ID: mountId });
    const cut = expect(inFlight).rejects.toThrow('socket hang up');
    await caught();
    await berth.hold();
    const first = await berth.pid();
    await berth.end('SIGKILL');
    await cut;
    await host.unshadow('mount');

    const queued = [
      call('VolumeDriver.Get', { Name: 'db' }),
      call('VolumeDriver.Mount', { Name: 'db', ID: mountId }),
      call('VolumeDriver.Create', { Name: 'queued' }),
      call('VolumeDriver.List'),
    ];
    await berth.release();
    const [get, mount, create] = await Promise.all(queued);
    expect(await berth.pid()).not.toBe(first);
    expect(get).toMatchObject({ status: 200, body: { Volume: { Name: 'db' } } });
    expect(mount).toMatchObject({
      status: 200,
      body: { Err: '', Mountpoint: expect.stringContaining('/db') },
    });
    expect(create).toEqual(done);
    expect(await call('VolumeDriver.Unmount', { Name: 'db', ID: mountId })).toEqual(done);
    expect(await call('VolumeDriver.Remove', { Name: 'queued' })).toEqual(done);
  });

  test('SIGTERM leaves the sockets open, and the next daemon serves on them', async () => {
    await berth.hold();
    await berth.end('SIGTERM');
    expect([await isThere(dockerPath), await isThere(adminPath)]).toEqual([true, true]);
    const status = host.exec(join(repository, 'bin/berth'), ['status']);
    const get = call('VolumeDriver.Get', { Name: 'db' });
    await berth.release();
    expect(await get).toMatchObject({ status: 200 });
    expect(await status).toMatchObject({ code: 0 });
  });

  test('child processes of the daemon do not inherit the sockets', async () => {
    const told = join(host.directory, 'told');
    await host.shadow('mount', `ls -l /proc/self/fd > ${told}; exec /usr/bin/mount "$@"`);
    expect(await call('VolumeDriver.Mount', { Name: 'db', ID: mountId })).toMatchObject({
      status: 200,
    });
    await host.unshadow('mount');
    expect(await call('VolumeDriver.Unmount', { Name: 'db', ID: mountId })).toEqual(done);
    const text = await readFile(told, 'utf8');
    expect(text).toContain('/proc/');
    const inodes = await listeningInodes();
    expect(inodes).toHaveLength(2);
    for (const inode of inodes) expect(text).not.toContain(inode);
  });

  test('the daemon ignores LISTEN_ variables that are meant for another process', async () => {
    const own = [
      '--state-dir',
      join(host.directory, 'own'),
      '--socket',
      `${host.directory}/o.sock`,
    ];
    await using other = host.spawn(
      join(repository, 'bin/berth'),
      ['serve', '--host', 'n1', ...own, '--admin-socket', join(host.directory, 'o-admin.sock')],
      { env: { LISTEN_PID: '1', LISTEN_FDS: '2' } },
    );
    await waitFor(() => other.output().includes('berth serves'), 15_000, 'berth to serve');
    expect((await callPlugin(`${host.directory}/o.sock`, 'Plugin.Activate')).status).toBe(200);
  });

  /** Starts a mount that lasts until the daemon is killed; the result waits until it has begun. */
  async function slowMount(volume: string): Promise<() => Promise<unknown>> {
    const begun = join(host.directory, `begun-${volume}`);
    await host.shadow('mount', `touch ${begun}; sleep 60`);
    const exists = async () => (await host.exec('test', ['-e', begun])).code === 0;
    return () => waitFor(exists, 10_000, 'the mount to begin');
  }

  async function listeningInodes(): Promise<string[]> {
    const { stdout } = await host.exec('cat', ['/proc/self/net/unix']);
    const rows = stdout.split('\n').map((line) => line.trim().split(/ +/));
    const isOurs = (path?: string) => path === dockerPath || path === adminPath;
    return rows.flatMap(([, , , flags, , , inode = '', path]) =>
      isOurs(path) && flags === '00010000' ? [`[${inode}]`] : [],
    );
  }
});

describeWith(['root', 'systemd'], 'a daemon that gets sockets from systemd', () => {
  let host: BareHost;
  beforeAll(async () => {
    host = await startBareHost('n1');
  });
  afterAll(async () => host?.[Symbol.asyncDispose]());

  test('identifies sockets by name if their paths say nothing, and opens the missing ones itself', async () => {
    const path = join(host.directory, 'elsewhere.sock');
    await using berth = await startActivatedBerth(host, { listen: [path], names: ['docker'] });
    const answer = await callPlugin(path, 'VolumeDriver.List', {});
    expect(answer).toEqual({ status: 200, body: { Volumes: [], Err: '' } });
    await berth.served(1);
    await host.execOk(join(repository, 'bin/berth'), 'status');
    expect((await host.exec('test', ['-e', dockerPath])).code).toBe(1);
  });

  test('refuses an unknown socket and names it', async () => {
    const path = join(host.directory, 'strange.sock');
    const flags = [join(repository, 'bin/berth'), 'serve', ...berthFlags(host)];
    await using started = host.spawn('systemd-socket-activate', ['-l', path, ...flags]);
    await waitFor(() => started.output().includes('Listening'), 5_000, 'the socket');
    await expect(callPlugin(path, 'Plugin.Activate')).rejects.toThrow(/hang up|ECONN/);
    expect(await started.finished).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(
        /descriptor 3 \("\S*"\) listens on \S+strange\.sock; berth serves \/run\/docker\/plugins\/berth\.sock \(docker\) and/,
      ),
    });
  });
});
