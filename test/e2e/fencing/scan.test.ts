// What a scan for users costs beside thousands of sleeping processes, and what it finds of control
// groups of version 2 and of held containers. Processes and groups are real; there is no engine.

import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { User } from '../../../sentinel/ports.ts';
import { removeControlGroups } from '../../support/host-processes.ts';
import type { Namespaces } from '../../support/namespaces.ts';
import { makeNamespaces } from '../../support/namespaces.ts';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import { makeTemporaryDirectory } from '../../support/temporary-directory.ts';

const program = join(import.meta.dirname, '../../support/scan-users.ts');
const freezer = '/sys/fs/cgroup/freezer';
const unified = '/sys/fs/cgroup/unified';
/** `TEST_SLEEPERS=25000` is the figure of the promise. */
const sleepers = Number(process.env.TEST_SLEEPERS ?? 2_000);

interface Scanned {
  readonly users: User[];
  readonly soon: User[];
  readonly soonMs: number;
  /** The number of the report that named a process of the host first. */
  readonly hostAfter?: number;
  readonly reports: number;
  readonly cpuMs: number;
}

describeWith(['docker'], 'a scan for users', () => {
  const stack = new AsyncDisposableStack();
  let host: Namespaces;
  let mountpoint: string;
  let lab: string;
  beforeAll(async () => {
    const { path } = stack.use(await makeTemporaryDirectory());
    mountpoint = join(path, 'mount');
    lab = basename(path);
    stack.defer(() => removeControlGroups(lab));
    host = stack.use(await makeNamespaces());
    await mkdir(mountpoint);
    await host.execOk('mount', '-t', 'tmpfs', 'volume', mountpoint);
  });
  afterAll(() => stack.disposeAsync());

  async function scans(
    times: number,
    method = 'users',
    ...part: readonly string[]
  ): Promise<Scanned[]> {
    const volumes = JSON.stringify([{ volume: 'db', mountpoint }]);
    const options = [volumes, String(times), method, ...part];
    const output = await host.execOk(process.execPath, program, ...options);
    return output.split('\n').map((line) => JSON.parse(line));
  }

  /** Makes a group that is named like a container's, and inner ones. */
  async function makeGroup(root: string, name: string, ...inner: string[]): Promise<string> {
    const group = join(root, lab, name);
    await mkdir(join(group, ...inner), { recursive: true });
    for (const each of [group, ...inner.map((name) => join(group, name))]) {
      stack.defer(() => killAll(each));
    }
    return group;
  }

  /** Starts a process with namespaces of its own that has the volume, in this group. */
  async function startUser(group: string): Promise<number> {
    const inner = `echo $$ > ${group}/cgroup.procs; mkdir /run/data
      mount --bind ${mountpoint} /run/data; echo $$; exec sleep 1000`;
    // The shell stays in the host's namespace, as an engine's shim does.
    const script = `mount -t tmpfs run /run; unshare --mount sh -c '${inner}'; true`;
    const user = stack.use(host.spawn('sh', ['-c', script]));
    return Number(await waitFor(() => user.output().trim(), 5_000, 'the user'));
  }

  test('finds a container in a control group of version 2, and a held one in either version', async () => {
    const [one, two] = ['1a'.repeat(32), '2b'.repeat(32)];
    const groups = [await makeGroup(freezer, one), await makeGroup(unified, two)];
    const pids: number[] = [];
    for (const group of groups) pids.push(await startUser(group));
    const expected = [
      {
        kind: 'container',
        key: groups[0],
        id: one,
        group: { path: groups[0], version: 1 },
        volumes: ['db'],
      },
      {
        kind: 'container',
        key: groups[1],
        id: two,
        group: { path: groups[1], version: 2 },
        volumes: ['db'],
      },
    ];
    const sorted = (users: readonly User[] = []) =>
      users.toSorted((a, b) => (a.key < b.key ? -1 : 1));
    const [now] = await scans(1);
    expect(sorted(now?.users)).toEqual(expected);
    expect(sorted(now?.soon)).toEqual(expected);
    expect((await scans(1, 'held'))[0]?.users).toEqual([]);
    for (const [root, name] of [[freezer, one] as const, [unified, two] as const]) {
      await makeGroup(root, name, 'berth-held');
    }
    // An empty one is what a release leaves until the engine knows.
    expect(sorted((await scans(1, 'held'))[0]?.users)).toEqual(expected);
    for (const [index, group] of groups.entries()) {
      await writeFile(join(group, 'berth-held/cgroup.procs'), String(pids[index]));
    }
    const [held] = await scans(1, 'held');
    expect(sorted(held?.users)).toEqual(expected);
    const [again] = await scans(1);
    expect(sorted(again?.users)).toEqual(expected);
  });

  test('finds a process of the host that is held in a group of its own', async () => {
    const script = `exec 9>> ${mountpoint}/file; echo ready; exec sleep 1000`;
    const { pid, output } = stack.use(host.spawn('sh', ['-c', script]));
    await waitFor(() => output() === 'ready\n', 5_000, 'the process');
    const group = await makeGroup(freezer, `berth-held-${pid}`);
    await writeFile(join(group, 'cgroup.procs'), String(pid));
    const [held] = await scans(1, 'held');
    const own = held?.users.filter(({ kind }) => kind === 'host');
    expect(own).toMatchObject([{ process: { pid, name: 'sleep' }, volumes: ['db'] }]);
    expect((await scans(1))[0]?.users).toContainEqual(own?.[0]);
  });

  test('prints how much of a processor scans take beside many sleeping processes of another container', async () => {
    const group = await makeGroup(freezer, '3c'.repeat(32));
    const before = await scans(3);
    const script = `echo $$ > ${group}/cgroup.procs
      i=0; while [ $i -lt ${sleepers} ]; do sleep 1000 & i=$((i+1)); done; echo ready; wait`;
    const many = host.spawn('sh', ['-c', script]);
    await using _ = many;
    await waitFor(() => many.output() === 'ready\n', 60_000, 'the sleepers');
    const after = await scans(5);
    await startUser(await makeGroup(freezer, '4d'.repeat(32)));
    const [again] = await scans(1);
    const [inParts] = await scans(1, 'users', '0');
    const crowd = await pidsIn(group);
    await killAll(group);
    const list = (all: readonly { cpuMs: number }[]) =>
      all.map(({ cpuMs }) => Math.round(cpuMs)).join(', ');
    process.stderr.write(
      `scans: ${list(before)} ms; with ${sleepers} sleepers: ${list(after)} ms\n`,
    );
    process.stderr.write(`a container is found after ${again?.soonMs} ms\n`);
    expect(again?.soon.map(({ id }) => id)).toContain('4d'.repeat(32));
    // Each process has a report of its own. The process of the test before was there before the sleepers,
    // unless the kernel has begun again with its lowest PIDs since.
    const early = again?.users.find(({ kind }) => kind === 'host')?.process?.pid ?? 0;
    const behind = crowd.filter((pid) => pid > early).length;
    expect(inParts?.hostAfter).toBeLessThanOrEqual((inParts?.reports ?? 0) - behind);
    const keys = (all: readonly { users: User[] }[]) =>
      all.map(({ users }) => users.map(({ key }) => key));
    expect(new Set(keys([...before, ...after]).map(String)).size).toBe(1);
  });
});

/** Ends the processes of a group. */
async function killAll(group: string): Promise<void> {
  const isEmpty = async () => {
    const pids = await pidsIn(group);
    for (const pid of pids) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It has ended meanwhile.
      }
    }
    return pids.length === 0;
  };
  await waitFor(isEmpty, 20_000, `${group} to be empty`);
}

async function pidsIn(group: string): Promise<number[]> {
  return (await readFile(join(group, 'cgroup.procs'), 'utf8'))
    .split('\n')
    .filter(Boolean)
    .map(Number);
}
