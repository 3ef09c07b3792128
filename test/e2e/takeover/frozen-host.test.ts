// A host is frozen past its TTL while it has an image mounted, and goes on writing after its
// successor. Two hosts without engines, real etcd, one pool with reflinks, a TTL of 5 s. The daemon and
// the sentinel of the frozen host stand still, its writer does not: the worst that a machine can do
// that goes on before its sentinel has looked.

import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { makeFileSystem } from '../../support/loop-fs.ts';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import { sentinelPid } from '../fencing/sentinel-process.ts';
import type { BareNode } from '../hosts/bare-cluster.ts';
import { startBareCluster } from '../hosts/bare-cluster.ts';

const id = 'a'.repeat(64);
const ttl = '5s';

/** Appends numbered lines, each on the disk before the next. */
const writer = (path: string, who: string) =>
  `i=0; while :; do i=$((i+1)); echo "${who} $i" >> ${path} && sync ${path} || exit; sleep 0.02; done`;

describeWith(['root', 'etcd', 'loop'], 'a host that is frozen and goes on', () => {
  test('no byte that it writes after its successor reaches what the successor sees; what was put aside goes when it has let go, unless it wrote there', async () => {
    await using pool = await makeFileSystem('xfs', 1_000);
    await using cluster = await startBareCluster();
    const options = { volumeDir: join(pool.path, 'volumes'), ttl, lockTimeout: '30s' };
    const [one, two] = [await cluster.join('n1', options), await cluster.join('n2', options)];
    await one.create('db', { driver: 'image', size: '32M', fencing: 'storage' });
    expect((await one.ok('Get', { Name: 'db' })).Volume?.Status.fencing).toMatch(/^storage /);
    await one.ok('Mount', { Name: 'db', ID: id });
    const [stale, file] = [
      join(one.mountpoint('db'), 'lines'),
      join(two.mountpoint('db'), 'lines'),
    ];
    await using writing = one.host.spawn('sh', ['-c', writer(stale, 'n1')]);
    const written = async () => (await one.host.execOk('cat', stale)).split('\n').length;
    await waitFor(async () => (await written()) > 5, 10_000, 'the first lines');

    const frozen = await processesOf(one);
    for (const pid of frozen) process.kill(pid, 'SIGSTOP');
    try {
      await two.ok('Mount', { Name: 'db', ID: id });
      await two.host.execOk('sh', '-c', `echo n2 first >> ${file} && sync ${file}`);
      const lines = (await two.host.execOk('cat', file)).split('\n');
      const before = await written();
      await waitFor(async () => (await written()) > before + 20, 10_000, 'late lines of n1');
      await two.host.execOk('sh', '-c', `echo n2 last >> ${file} && sync ${file}`);
      expect(writing.hasExited).toBe(false);
      expect((await two.host.execOk('cat', file)).split('\n')).toEqual([...lines, 'n2 last']);
      expect(lines.at(-1)).toBe('n2 first');
    } finally {
      for (const pid of frozen) process.kill(pid, 'SIGCONT');
    }
    await one.waitUntilUnmounted('db', 20_000);
    const aside = async (volume: string) =>
      (await eventsOf(two, volume)).find(({ kind }) => kind === 'aside');
    const isReported = async (volume: string) => (await aside(volume)) !== undefined;
    await waitFor(() => isReported('db'), 10_000, 'the report of what was aside');
    expect(await aside('db')).toMatchObject({ severity: 'warning' });
    const path = /in (\/\S+\.img);/.exec((await aside('db'))?.message ?? '')?.[1] ?? '';
    expect(path).toContain('/volumes/image/db/aside/n1.');
    expect((await readFile(path)).includes('n1 1\n')).toBe(true);
    expect((await eventsOf(two)).map(({ kind }) => kind)).toEqual(['taken-over', 'aside']);
    const { stdout: doctor } = await two.daemon.berth('doctor');
    expect(doctor).toContain(`${path} (`);
    expect(doctor).toMatch(
      /has what host n1 wrote to volume db after the takeover, [0-9]+ KiB until/,
    );
    expect(doctor).toContain(`delete it: rm ${path}`);
    await two.ok('Unmount', { Name: 'db', ID: id });
    expect(await claims(cluster.etcd)).toBe('');
    await two.ok('Remove', { Name: 'db' });

    // The sentinel of this host goes on, and stops its volume in time: nothing is written after the takeover.
    // Its kernel writes to the old file as it shuts the file system down, but nothing of any user.
    await two.create('idle', { driver: 'image', size: '32M' });
    await one.ok('Mount', { Name: 'idle', ID: id });
    const kept = (node: BareNode) => join(node.mountpoint('idle'), 'kept');
    await one.host.execOk('sh', '-c', `echo kept > ${kept(one)} && sync ${kept(one)}`);
    one.daemon.process.kill('SIGSTOP');
    try {
      await two.ok('Mount', { Name: 'idle', ID: id });
      expect(await asidesOf(pool.path, 'idle')).toEqual([expect.stringMatching(/^n1\..*\.img$/)]);
      expect((await two.daemon.berth('doctor')).stdout).toMatch(
        /idle\/aside\/n1\S+ .*is kept for host n1.*wrote nothing there, and may still write there/,
      );
      expect(await isReported('idle')).toBe(false);
    } finally {
      one.daemon.process.kill('SIGCONT');
    }
    await waitFor(() => isReported('idle'), 20_000, 'the end of what was aside');
    expect(await aside('idle')).toMatchObject({
      severity: 'info',
      message: expect.stringMatching(/host n1 has let go and wrote nothing.*is deleted/),
    });
    expect(await asidesOf(pool.path, 'idle')).toEqual([]);
    expect(await two.host.execOk('cat', kept(two))).toBe('kept');
    expect((await two.daemon.berth('doctor')).stdout).not.toContain('/aside/');
    await two.ok('Unmount', { Name: 'idle', ID: id });
  });

  test('a directory volume waits for the fence command, which ends the machine', async () => {
    await using cluster = await startBareCluster();
    const one = await cluster.join('n1', { ttl });
    const fence = join(cluster.volumeDir, 'fence');
    const flags = ['--fence-command', fence];
    const two = await cluster.join('n2', { ttl, lockTimeout: '30s', flags });
    await one.create('db');
    expect((await one.ok('Get', { Name: 'db' })).Volume?.Status.fencing).toMatch(/^host /);
    expect((await two.ok('Get', { Name: 'db' })).Volume?.Status.fencing).toMatch(/^storage /);
    await one.ok('Mount', { Name: 'db', ID: id });
    const [stale, file] = [
      join(one.mountpoint('db'), 'lines'),
      join(two.mountpoint('db'), 'lines'),
    ];
    await using writing = one.host.spawn('sh', ['-c', writer(stale, 'n1')]);
    const victims = [...(await processesOf(one)), writing.pid];
    // It fails once; then it ends every process of the machine.
    const script = `[ -e ${fence}.ran ] || { touch ${fence}.ran; echo no answer >&2; exit 1; }`;
    const kill = `kill -KILL ${victims.join(' ')}; sleep 0.2; exit 0`;
    await writeFile(fence, `#!/bin/sh\n${script}\n${kill}\n`, { mode: 0o755 });
    for (const pid of await processesOf(one)) process.kill(pid, 'SIGSTOP');

    await two.ok('Mount', { Name: 'db', ID: id });
    const lines = await two.host.execOk('cat', file);
    expect(lines.split('\n').every((line) => line.startsWith('n1 '))).toBe(true);
    expect(writing.hasExited).toBe(true);
    await two.host.execOk('sh', '-c', `echo n2 >> ${file}`);
    expect(await two.host.execOk('cat', file)).toBe(`${lines}\nn2`);
    const events = (await eventsOf(two)).map(({ kind, severity }) => `${kind} ${severity}`);
    expect(events).toEqual(['fence-command warning', 'fence-command info']);
    await two.ok('Unmount', { Name: 'db', ID: id });
    // The next Mount does not run it again: the claim says that the host was ended.
    await writeFile(fence, '#!/bin/sh\nexit 1\n', { mode: 0o755 });
    await two.ok('Mount', { Name: 'db', ID: id });
    await two.ok('Unmount', { Name: 'db', ID: id });
  });
});

/** Returns the daemon of a host and its sentinel. */
async function processesOf(node: BareNode): Promise<number[]> {
  return [node.daemon.process.pid, await sentinelPid(node)];
}

function eventsOf(node: BareNode, volume = 'db') {
  return node.events(volume);
}

/** Lists the files that takeovers of a volume have put aside. */
function asidesOf(pool: string, volume: string): Promise<string[]> {
  return readdir(join(pool, 'volumes/image', volume, 'aside')).then((names) =>
    names.filter((name) => name.endsWith('.img')),
  );
}

function claims(etcd: { ctlOk(...args: string[]): Promise<string> }): Promise<string> {
  return etcd.ctlOk('get', '--prefix', '--keys-only', '/berth/records/claims/');
}
