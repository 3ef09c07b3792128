// A virtual machine is copied while it has a volume: real daemons and etcd, no Docker engine. A copy is a
// host of its own with the state directory of the original, and with another boot ID.

import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import type { BareCluster, BareNode } from '../hosts/bare-cluster.ts';
import { leases, startBareCluster } from '../hosts/bare-cluster.ts';
import { startBareHost } from '../hosts/bare-host.ts';
import { startNode } from '../hosts/node.ts';

const ttl = '5s';
const patienceMs = 60_000;

/** Returns the text of a host.json whose process is in a PID namespace that nobody here can see into. */
function inOtherNamespace(text: string): string {
  const owner = JSON.parse(text);
  return JSON.stringify({ ...owner, process: { ...owner.process, namespace: 'pid:[1]' } });
}

describeWith(['root', 'etcd'], 'a copy of a machine', () => {
  let stack: AsyncDisposableStack;
  let cluster: BareCluster;
  let original: BareNode;
  beforeEach(async () => {
    stack = new AsyncDisposableStack();
    cluster = stack.use(await startBareCluster());
    original = await cluster.join('n1', { ttl });
    await original.create('db');
    await original.ok('Mount', { Name: 'db', ID: 'one' });
  });
  afterEach(() => stack.disposeAsync().then());

  interface Copy {
    readonly name: string;
    /** The copy has the original's machine ID if this is absent. */
    readonly machine?: string;
    /** True: only the state directory is copied, to a daemon of the same machine that can't see the original's. */
    readonly isSameMachine?: boolean;
  }

  /** Makes the copy as a hypervisor does, and starts what starts with it: nothing of berth runs yet. */
  async function copied({ name, machine, isSameMachine = false }: Copy) {
    const host = stack.use(await startBareHost(name, cluster.network));
    const state = join(host.directory, 'berth');
    await cp(join(original.host.directory, 'berth'), state, {
      recursive: true,
      filter: (path) => !path.includes('/mounts/') && !path.endsWith('.sock'),
    });
    const owner = join(state, 'host.json');
    if (isSameMachine) await writeFile(owner, inOtherNamespace(await readFile(owner, 'utf8')));
    const files = isSameMachine ? [] : [['/proc/sys/kernel/random/boot_id', randomUUID()]];
    if (machine !== undefined && existsSync('/etc/machine-id')) {
      files.push(['/etc/machine-id', machine]);
    } else if (machine !== undefined) {
      await writeFile(join(state, 'machine-id'), machine);
    }
    for (const [index, [path = '', text = '']] of files.entries()) {
      const file = join(host.directory, `file-${index}`);
      await writeFile(file, `${text}\n`);
      await host.execOk('mount', '--bind', file, path);
    }
    return host;
  }

  const start = async (copy: Copy) => {
    const host = await copied(copy);
    const options = { store: cluster.etcd.url, volumeDir: cluster.volumeDir, ttl };
    return stack.use(await startNode(host, { ...options, lockTimeout: '0s' }));
  };

  /** Returns what the store has of the volume's lock and claim, with their revisions. */
  async function stored(): Promise<unknown[]> {
    const read = async (key: string) =>
      JSON.parse(await cluster.etcd.ctlOk('get', '--prefix', `/berth/${key}`, '-w', 'json')).kvs;
    return [await read('locks/mount'), await read('records/claims/db/')];
  }

  /** Fails if the original's lock or claim was touched. */
  async function originalIsUntouched(before: readonly unknown[]): Promise<void> {
    expect(before).toEqual([[expect.anything()], [expect.anything()]]);
    expect(await stored()).toEqual(before);
    expect((await original.status()).mounts).toMatchObject([{ volume: 'db', lock: 'held' }]);
  }

  test('with another name frees no lock of the original, and says what it is', async () => {
    const before = await stored();
    const copy = await start({ name: 'n2' });
    const refused = await copy.call('Mount', { Name: 'db', ID: 'two' });
    expect(refused.Err).toContain('mounted on host n1');
    const says = async () => copy.daemon.berthOk('status').catch(String);
    await waitFor(
      async () => (await says()).includes('so this machine is a copy of one that runs'),
      patienceMs,
      'the copy to know what it is',
    );
    expect(await says()).toContain('systemd-machine-id-setup');
    await originalIsUntouched(before);
  });

  test.each(['n1', 'n2'])(
    'of its state directory alone, in another PID namespace as host %s, uses nothing of the original',
    async (name) => {
      const before = await stored();
      const copy = await start({ name, isSameMachine: true });
      if (name === 'n1') {
        expect((await copy.daemon.process.finished).code).toBe(1);
        expect(copy.daemon.log()).toContain("another berth runs with this host's identity");
      } else {
        const refused = await copy.call('Mount', { Name: 'db', ID: 'two' });
        expect(refused.Err).toContain('mounted on host n1');
        await waitFor(
          async () =>
            (await copy.daemon.berth('status')).stdout.includes('is a copy of one that runs'),
          patienceMs,
          'the copy to know what it is',
        );
      }
      await originalIsUntouched(before);
    },
  );

  test('with another machine ID sets the files of the original aside', async () => {
    const before = await stored();
    const copy = await start({ name: 'n2', machine: randomUUID().replaceAll('-', '') });
    const refused = await copy.call('Mount', { Name: 'db', ID: 'two' });
    expect(refused.Err).toContain('mounted on host n1');
    expect(await copy.daemon.berthOk('status')).toContain(
      'the state directory was copied from another machine, the host n1',
    );
    await originalIsUntouched(before);
  });

  test('with the same name ends and says why, while the original runs', async () => {
    const before = await stored();
    const copy = await start({ name: 'n1' });
    const { code } = await copy.daemon.process.finished;
    expect(code).toBe(1);
    expect(copy.daemon.log()).toContain("another berth runs with this host's identity");
    expect(copy.daemon.log()).toContain('systemd-machine-id-setup');
    await originalIsUntouched(before);
  });

  test('gets the volume of an original that is cut off only when its lease has expired', async () => {
    const [lease] = await leases(cluster.etcd);
    await original.host.disconnect();
    const copy = await start({ name: 'n1' });
    const mounted = async () => {
      const answer = await copy.call('Mount', { Name: 'db', ID: 'two' });
      // Looked at after the answer: what has expired then may only just have expired.
      return {
        isGranted: answer.Err === '',
        hasExpired: !(await leases(cluster.etcd)).includes(`${lease}`),
      };
    };
    const seen: Awaited<ReturnType<typeof mounted>>[] = [];
    await waitFor(
      async () => {
        seen.push(await mounted());
        return seen.at(-1)?.isGranted;
      },
      patienceMs,
      'the volume',
    );
    expect(seen.at(-1)).toEqual({ isGranted: true, hasExpired: true });
  });
});
