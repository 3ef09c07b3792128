// One volume on a file system that never answers: nothing but that volume is affected. Bare host.
import { readdir, readFile, readlink, rename, symlink, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { HungFileSystem } from '../../support/hung-file-system.ts';
import { makeHungFileSystem } from '../../support/hung-file-system.ts';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import { startBareHost } from '../hosts/bare-host.ts';
import type { Node } from '../hosts/node.ts';
import { startNode } from '../hosts/node.ts';

const mountId = 'a'.repeat(64);
const rounds = 20;
/** Half the time after which a hanging call is answered: whoever waited for one takes longer. */
const patienceMs = 10_000;

describeWith(['root', 'fuse'], 'storage that does not answer', () => {
  let stack: AsyncDisposableStack;
  let node: Node;
  let storage: HungFileSystem;
  let home: string;

  beforeAll(async () => {
    await using started = new AsyncDisposableStack();
    storage = started.use(await makeHungFileSystem());
    const host = started.use(await startBareHost('n1'));
    node = started.use(await startNode(host, { lockTimeout: '5s' }));
    home = join(host.directory, 'volumes/directory/hung');
    await node.create('hung');
    stack = started.move();
  });
  afterAll(async () => {
    await stack[Symbol.asyncDispose]();
  });

  test('defect C4: four calls that hang stop no other volume, and status names theirs', async () => {
    await rename(home, `${home}-aside`);
    await symlink(storage.path, home);
    // The daemon keeps this file open from its first change of a record on, a second later.
    await waitFor(
      async () => (await descriptors()).includes('/records.json'),
      10_000,
      'the record to be remembered',
    );
    const before = { descriptors: await descriptors(), programs: await programs() };
    expect(before.programs).toEqual([expect.stringContaining('worker/main')]);
    const hanging = [
      node.call('Mount', { Name: 'hung', ID: mountId }),
      ...['one', 'two', 'three'].map(() => node.daemon.berth('volume', 'inspect', 'hung')),
    ];
    const settled = Promise.allSettled(hanging);
    const times: number[] = [];
    let isNamed = false;
    for (let round = 0; round < rounds || !isNamed; round++) {
      const other = { Name: `other-${round}`, ID: mountId };
      for (const method of ['Create', 'Mount', 'Unmount', 'Remove']) {
        const start = performance.now();
        await node.ok(method, other);
        times.push(performance.now() - start);
      }
      isNamed = (await status()).includes('the storage of volume hung does not answer since');
    }
    const slowest = times.sort((a, b) => b - a)[Math.floor(times.length / 100)] ?? 0;
    process.stdout.write(
      `99 of 100 calls of other volumes took ${slowest.toFixed(0)} ms or less\n`,
    );
    expect(slowest).toBeLessThan(patienceMs);
    const [mount] = await settled;
    expect(mount).toMatchObject({ value: { Err: expect.stringContaining('does not answer') } });

    await waitFor(
      async () => `${await programs()}` === `${[before.programs, before.programs].flat()}`,
      10_000,
      'the second worker',
    );
    const hung = await descriptors();
    for (let batch = 0; batch < 20; batch++) {
      const calls = Array.from({ length: 50 }, () =>
        node.call('Mount', { Name: 'hung', ID: mountId }),
      );
      for (const { Err } of await Promise.all(calls))
        expect(Err).toContain('does not answer since');
    }
    // The current worker and the one that the hanging calls keep, and nothing that either has started.
    const expected = [before.programs, before.programs].flat();
    await waitFor(async () => `${await programs()}` === `${expected}`, 10_000, 'only two workers');
    await waitUntilSame(hung, 'the descriptors to be as before the 1,000 calls');

    await storage.answer();
    await waitFor(async () => !(await status()).includes('does not answer'), 10_000, 'the end');
    await waitFor(
      async () => `${await programs()}` === `${before.programs}`,
      10_000,
      'the processes to be as before',
    );
    await waitUntilSame(before.descriptors, 'the descriptors to be as before');
    // A lane that a refused call had left would make this one wait or fail.
    const usage = await node.daemon.berth('volume', 'inspect', 'hung');
    expect(usage.stderr).not.toContain('does not answer');
    await unlink(home);
    await rename(`${home}-aside`, home);
    await node.ok('Mount', { Name: 'hung', ID: mountId });
    expect(await node.mountCount('hung')).toBe(1);
    await node.ok('Unmount', { Name: 'hung', ID: mountId });
    await node.ok('Remove', { Name: 'hung' });
    const events = await node.daemon.berthOk('events');
    expect(events).toContain('the storage of volume hung does not answer since');
    expect(events).toContain('the storage of volume hung answers again');
  });

  async function status(): Promise<string> {
    return (await node.daemon.berth('status')).stdout;
  }

  /** Lists the command lines of all processes below the daemon, without the sentinel. */
  async function programs(): Promise<string[]> {
    const found: string[] = [];
    const look = async (pid: number): Promise<void> => {
      const text = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '');
      for (const child of text.split(' ').filter(Boolean)) {
        const command = await readFile(`/proc/${child}/cmdline`, 'utf8').catch(() => '');
        if (command.includes('sentinel/main')) continue;
        found.push(command.replaceAll('\0', ' '));
        await look(Number(child));
      }
    };
    await look(node.daemon.process.pid);
    return found.sort();
  }

  /** Waits until the daemon has exactly these descriptors: connections of clients end a moment later. */
  async function waitUntilSame(wanted: string, what: string): Promise<void> {
    let found = '';
    const isSame = async () => {
      found = await descriptors();
      return found === wanted;
    };
    await waitFor(isSame, 4_000, what).catch(() => expect(found).toBe(wanted));
  }

  /** Lists what each descriptor of the daemon is, without its number. */
  async function descriptors(): Promise<string> {
    const directory = `/proc/${node.daemon.process.pid}/fd`;
    const links = (await readdir(directory)).map((fd) =>
      readlink(join(directory, fd)).catch(() => 'closed meanwhile'),
    );
    const kinds = (await Promise.all(links)).map((link) => link.replaceAll(/\d+/g, 'N'));
    return kinds.sort().join('\n');
  }
});
