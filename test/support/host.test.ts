// The hosts of the tests: a real dockerd in namespaces, its plugins, mounts and network, and that a
// host leaves nothing behind. Real time.

import { glob, mkdir, readdir, readFile, readlink } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { startEtcd } from './etcd-server.ts';
import { startHost } from './host.ts';
import { makeFileSystem } from './loop-fs.ts';
import { startNetwork } from './network.ts';
import { waitFor } from './processes.ts';
import { describeWith } from './requirements.ts';
import { dockerVersions, etcdTools } from './tools.ts';

describeWith(['docker'], 'a host for tests', () => {
  test.each(dockerVersions)('Docker %s starts and runs a container', async (version) => {
    await using host = await startHost({ docker: version, name: 'harbour' });
    expect(await host.dockerOk('version', '-f', '{{.Server.Version}}')).toContain(version);
    expect(await host.dockerOk('run', '--rm', 'busybox', 'echo', 'ahoy')).toBe('ahoy');
    expect(await host.execOk('hostname')).toBe('harbour');
    expect(await host.dockerOk('info', '-f', '{{.Name}}')).toBe('harbour');
    expect((await host.docker('run', 'absent', 'true')).code).toBe(125);
  });

  test.each(dockerVersions)('Docker %s is killed and starts again', async (version) => {
    await using host = await startHost({ docker: version });
    await host.dockerOk(
      'run',
      '-d',
      '--name',
      'worker',
      '--stop-timeout',
      '0',
      'busybox',
      'sleep',
      '1000',
    );
    await host.killEngine();
    expect((await host.docker('ps')).code).not.toBe(0);
    await host.startEngine();
    expect(await host.dockerOk('ps', '-a', '--format', '{{.Names}} {{.State}}')).toBe(
      'worker exited',
    );
    await host.dockerOk('start', 'worker');
    await host.killEngine('SIGTERM');
    await host.startEngine();
  });

  test("an engine finds the plugins of its own host's directory only", async () => {
    await using one = await startHost();
    await using two = await startHost();
    await using plugin = await servePlugin(one.pathOf('/run/docker/plugins/greeter.sock'));
    await one.dockerOk('volume', 'create', '-d', 'greeter', 'v');
    expect(plugin.requests).toContain('/VolumeDriver.Create');
    expect((await two.docker('volume', 'inspect', 'v')).code).not.toBe(0);
    expect(await readdir(two.pathOf('/run/docker/plugins'))).toEqual([]);
  });

  test("the host's containers see a mount made inside, the machine does not, and it ends with the host", async () => {
    let path = '';
    {
      await using host = await startHost();
      path = join(host.directory, 'mounted');
      await mkdir(path);
      await host.execOk('mount', '-t', 'tmpfs', 'tmpfs', path);
      await host.execOk('touch', join(path, 'inside'));
      expect(
        await host.dockerOk('run', '--rm', '-v', `${path}:/data`, 'busybox', 'ls', '/data'),
      ).toBe('inside');
      expect(await readdir(path)).toEqual([]);
    }
    await expect(readdir(path)).rejects.toThrow('ENOENT');
  });

  test('a host leaves no process, control group or mount behind, whatever runs on it', async () => {
    let group = '';
    let namespace = '';
    {
      await using network = await startNetwork();
      await using host = await startHost({ network });
      group = host.directory.slice(host.directory.lastIndexOf('/') + 1);
      await host.dockerOk('run', '-d', '--restart', 'always', 'busybox', 'sleep', '1000');
      host.spawn('sh', ['-c', 'trap "" TERM; setsid sleep 1000 & while :; do sleep 1; done']);
      namespace = await readlink(`/proc/${host.enginePid}/ns/net`);
      expect(await pidsIn(namespace)).not.toEqual([]);
      expect(await controlGroups(group)).not.toEqual([]);
    }
    expect(await pidsIn(namespace)).toEqual([]);
    expect(await controlGroups(group)).toEqual([]);
    expect(await readFile('/proc/mounts', 'utf8')).not.toContain(group);
  });

  test('hosts on a network reach one another and etcd until they are disconnected', async () => {
    await using network = await startNetwork();
    await using etcd = await startEtcd({ in: network });
    await using one = await startHost({ name: 'one', network });
    await using two = await startHost({ name: 'two', network, docker: '20.10' });
    const [endpoint = ''] = etcd.endpoints;
    const put = () =>
      two.exec(etcdTools('3.5').etcdctl, [
        '--endpoints',
        endpoint,
        '--command-timeout',
        '1s',
        'put',
        'a',
        'b',
      ]);
    const ping = async () => (await one.exec('sh', ['-c', reach(two.address)])).code;

    await using listener = two.spawn(process.execPath, ['-e', listen]);
    await waitFor(async () => (await ping()) === 0, 5_000, 'the other host');
    expect((await put()).code).toBe(0);
    await two.disconnect();
    expect((await put()).code).not.toBe(0);
    expect(await ping()).not.toBe(0);
    await two.reconnect();
    await waitFor(async () => (await put()).code === 0, 10_000, 'the way back to etcd');
    expect(listener.hasExited).toBe(false);
  });

  test('members of etcd can run on hosts of their own', async () => {
    await using network = await startNetwork();
    await using one = await startHost({ network });
    await using two = await startHost({ network });
    await using three = await startHost({ network });
    await using etcd = await startEtcd({ members: 3, in: [one, two, three] });
    expect(etcd.endpoints.map((endpoint) => new URL(endpoint).hostname)).toEqual([
      one.address,
      two.address,
      three.address,
    ]);
    await three.disconnect();
    // If this member was the leader, the others elect a new one first.
    const put = () => etcd.ctl('--command-timeout', '1s', 'put', 'key', 'value');
    await waitFor(async () => (await put()).code === 0, 10_000, 'the majority to go on');
  });

  test('a power cut ends containers, engine and daemons at once', async () => {
    await using host = await startHost();
    await using daemon = host.spawn('sleep', ['1000']);
    await host.dockerOk('run', '-d', 'busybox', 'sleep', '1000');
    await host.cutPower();
    expect((await daemon.finished).code).toBe(128 + 9);
    expect((await host.docker('ps')).code).not.toBe(0);
  });
});

describeWith(['docker', 'loop'], 'a host with a file system', () => {
  test('a host can use a file system that was mounted before it started', async () => {
    await using pool = await makeFileSystem('ext4', 64);
    await using host = await startHost();
    await host.execOk('touch', join(pool.path, 'inside'));
    expect(await readdir(pool.path)).toContain('inside');
  });

  test('the machine does not see a file system that is mounted inside a host', async () => {
    await using host = await startHost();
    await using pool = await makeFileSystem('ext4', 64, { in: host });
    await host.execOk('touch', join(pool.path, 'inside'));
    expect(await readdir(pool.path)).toEqual([]);
  });
});

const listen = `require('node:net').createServer((socket) => socket.end()).listen(7777, '0.0.0.0')`;
const reach = (address: string) =>
  `timeout 1 bash -c 'exec 3<>/dev/tcp/${address}/7777' 2>/dev/null`;

/** Serves the minimum that an engine accepts as a volume plugin. */
async function servePlugin(socketPath: string): Promise<AsyncDisposable & { requests: string[] }> {
  const requests: string[] = [];
  const server = createServer((request, response) => {
    const path = request.url ?? '';
    requests.push(path);
    const answer = {
      '/Plugin.Activate': { Implements: ['VolumeDriver'] },
      '/VolumeDriver.Get': requests.includes('/VolumeDriver.Create')
        ? { Volume: { Name: 'v', Mountpoint: '/tmp' } }
        : { Err: 'no such volume' },
    }[path];
    response.end(JSON.stringify(answer ?? {}));
  });
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  return {
    requests,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Returns the group's directory in each hierarchy of cgroup v1, or its only one of cgroup v2. */
function controlGroups(name: string): Promise<string[]> {
  return Array.fromAsync(glob(`/sys/fs/cgroup/{${name},*/${name}}`));
}

async function pidsIn(namespace: string): Promise<string[]> {
  const pids: string[] = [];
  for (const pid of await readdir('/proc')) {
    const own = await readlink(`/proc/${pid}/ns/net`).catch(() => '');
    if (own === namespace) pids.push(pid);
  }
  return pids;
}
