// Removed volumes that come back, through the command and the plugin's socket: a real daemon and its real worker,
// killed before each step of a Remove, a restore and a deletion; both drivers; no Docker engine.
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { z } from 'zod';
import { runBerth } from '../../support/berth-command.ts';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import type { BareHost } from '../hosts/bare-host.ts';
import { startBareHost } from '../hosts/bare-host.ts';
import type { Node } from '../hosts/node.ts';
import { startNode } from '../hosts/node.ts';
import type { Stand } from './standing-steps.ts';
import { StandingSteps } from './standing-steps.ts';

const mountId = 'f'.repeat(64);

type DriverName = 'directory' | 'image';
type Work = 'remove' | 'restore' | 'discard';
type Killed = 'daemon' | 'worker';

const trashSchema = z.array(z.object({ volume: z.string(), id: z.string() }).loose());
const findingsSchema = z.object({
  findings: z.array(z.object({ kind: z.string(), what: z.string(), state: z.string() }).loose()),
});

const pruning = 'prune --unused-for 1s --yes';

/** More than any of the works has. */
const mostSteps = 15;

describeWith(['root', 'loop'], 'removed volumes in the trash', () => {
  let stack: AsyncDisposableStack;
  let host: BareHost;
  let node: Node;
  let steps: StandingSteps;

  beforeAll(async () => {
    await using started = new AsyncDisposableStack();
    host = started.use(await startBareHost('n1'));
    steps = await StandingSteps.make(host.directory);
    const { env } = steps;
    node = started.use(await startNode(host, { lockTimeout: '5s', flags: ['--trash', '1h'], env }));
    stack = started.move();
  });
  afterAll(async () => {
    await stack[Symbol.asyncDispose]();
  });

  const berth = (command: string) =>
    runBerth(command, { path: host.pathOf('/run/berth/admin.sock') });

  async function inTrash(name: string): Promise<string[]> {
    const { stdout } = await berth('volume ls --trash --json');
    const all = trashSchema.parse(JSON.parse(stdout));
    return all.flatMap(({ volume, id }) => (volume === name ? [`${volume}@${id}`] : []));
  }

  async function inside<T>(name: string, look: (path: string) => Promise<T>): Promise<T> {
    await node.ok('Mount', { Name: name, ID: mountId });
    try {
      return await look(join(host.pathOf(node.mountpoint(name)), 'state'));
    } finally {
      await node.ok('Unmount', { Name: name, ID: mountId });
    }
  }

  const read = (name: string) => inside(name, (path) => readFile(path, 'utf8'));

  async function made(name: string, driver: DriverName, state = `of ${name}`): Promise<void> {
    await node.create(name, { driver, ...(driver === 'image' && { size: '32M', access: 'host' }) });
    await inside(name, (path) => writeFile(path, state));
    await node.ok('Snapshot', { Name: name, Snapshot: 'monday' });
  }

  async function doctor(flags = '') {
    const { exitCode, stdout } = await berth(`doctor --json ${flags}`.trim());
    return { exitCode, findings: findingsSchema.parse(JSON.parse(stdout)).findings };
  }

  /** A worker that was killed may still be ending, and what it has left is its own until then. */
  const isClean = async () => (await doctor('--fix')).findings.length === 0;

  /** Runs the work; the answer is empty if it is done, or else says why not. */
  async function run(work: Work, name: string, entry: string | undefined): Promise<string> {
    if (work === 'remove') return (await node.call('Remove', { Name: name })).Err;
    const { exitCode, stderr } = await berth(`volume ${work} ${entry}`);
    return exitCode === 0 ? '' : stderr;
  }

  async function expectDone(work: Work, name: string, entry: string | undefined): Promise<void> {
    if (work === 'restore') {
      expect(await read(name)).toBe(`of ${name}`);
      await node.ok('Remove', { Name: name });
    }
    expect(await inTrash(name)).toHaveLength(work === 'discard' ? 0 : 1);
    if (work !== 'remove') return;
    expect(await berth(`volume restore ${name}`)).toMatchObject({ exitCode: 0, stderr: '' });
    expect([entry, await read(name)]).toEqual([entry, `of ${name}`]);
  }

  test.each(['directory', 'image'] as const)(
    'clients F7, %s: a removed volume comes back with its snapshots, under its name or another',
    async (driver) => {
      const name = `db-${driver}`;
      await made(name, driver, 'first');
      await node.ok('Remove', { Name: name });
      await made(name, driver, 'second');
      const [first = ''] = await inTrash(name);
      const refused = await berth(`volume restore ${name}`);
      expect(refused).toMatchObject({ exitCode: 1, stdout: '' });
      expect(refused.stderr).toContain(
        `there is a volume ${name}; restore the removed one under another name: berth volume restore ${first} --as NAME`,
      );
      const restored = await berth(`volume restore ${first} --as ${name}-old`);
      expect(restored.stdout).toMatch(new RegExp(`^${name}-old is back: ${first}, removed at 20`));
      expect([await read(`${name}-old`), await read(name)]).toEqual(['first', 'second']);
      await inside(`${name}-old`, (path) => writeFile(path, 'changed'));
      expect(await berth(`snapshot restore ${name}-old@monday`)).toMatchObject({ exitCode: 0 });
      expect(await read(`${name}-old`)).toBe('first');

      await node.ok('Remove', { Name: name });
      const { stdout } = await berth('volume ls --trash');
      expect(stdout).toMatch(
        new RegExp(`\\n${name}@[0-9a-f]{10} +${driver} +\\S+ \\S+ +20\\S+Z +n1 +20\\S+Z +1\\n`),
      );
      const events = await berth(`events --volume ${name}`);
      expect(events.stdout).toMatch(
        /volume \S+ was moved to the trash until 20\S+Z; to undo that: /,
      );
      expect(node.daemon.log()).toContain(`volume ${name} was moved to the trash until 20`);
      expect(await doctor()).toEqual({ exitCode: 0, findings: [] });
    },
  );

  test('bug report 17: volumes that nobody has used for long are listed, and removed on request, but none that is mounted', async () => {
    for (const name of ['idle', 'busy']) await made(name, 'directory');
    await node.ok('Mount', { Name: 'busy', ID: mountId });
    await delay(1_100);
    const { Volume } = await node.ok('Get', { Name: 'idle' });
    expect(Volume?.Status).toMatchObject({ lastUsed: expect.stringMatching(/^20/) });
    expect((await berth('volume prune --unused-for 1s')).stdout).toMatch(
      /\nidle +directory +20.* would be removed\n(.*\n)*nothing was removed; to remove them, add --yes\n$/,
    );
    expect((await berth('volume ls')).stdout).toMatch(/\nidle .* [1-9]\d* s ago\n/);
    expect((await berth(`volume ${pruning}`)).stdout).toMatch(/\nidle .* removed\n/);
    expect((await berth('volume ls')).stdout).toMatch(/\nbusy .* now\n$/);
    expect(await inTrash('idle')).toHaveLength(1);
    await node.ok('Unmount', { Name: 'busy', ID: mountId });
  });

  test('tmpfs: a removed volume is gone at once', async () => {
    await node.create('memory', { driver: 'tmpfs' });
    await node.ok('Remove', { Name: 'memory' });
    expect(await inTrash('memory')).toEqual([]);
  });

  test.each([
    ['directory', 'daemon', 'remove'],
    ['directory', 'daemon', 'restore'],
    ['directory', 'daemon', 'discard'],
    ['directory', 'worker', 'remove'],
    ['image', 'worker', 'remove'],
    ['image', 'worker', 'restore'],
    ['image', 'worker', 'discard'],
  ] as const)(
    '%s: after a kill of the %s before each step, a %s can be repeated, and the doctor leaves nothing',
    async (driver, kills, work) => {
      const seen: string[] = [];
      for (let before = 1; before <= mostSteps; before += 1) {
        const step = await killedBefore(before, driver, kills, work);
        if (step === undefined) break;
        seen.push(step);
      }
      process.stderr.write(`${driver} ${kills} ${work}:\n${seen.join('\n')}\n`);
      expect(seen.length).toBeLessThan(mostSteps);
      expect(seen.filter((step) => step.includes(': rename '))).toHaveLength(1);
      expect(seen.filter((step) => step.endsWith(': sync')).length).toBeGreaterThan(0);
    },
  );

  /** Ends the worker or the daemon where the work stands still; undefined: it has ended before, with success. */
  async function stoodBefore(
    before: number,
    name: string,
    begin: () => Promise<string>,
    kills: Killed,
  ): Promise<Stand | undefined> {
    const plan = await steps.begin({ volumes: [name], before });
    let answer: string | undefined;
    const ended = begin()
      .catch(() => 'the daemon was killed')
      .then((text) => {
        answer = text;
      });
    const stands = async () => answer !== undefined || (await steps.at(name, plan)) !== undefined;
    await waitFor(stands, 30_000, `the work to stand still before step ${before}`);
    const at = await steps.at(name, plan);
    await steps.end(); // What the daemon undoes now does not stand still.
    if (at && kills === 'worker') process.kill(at.pid, 'SIGKILL');
    if (at && kills === 'daemon') await node.daemon.kill();
    await ended;
    if (at && kills === 'daemon') await node.daemon.start();
    if (!at) expect(answer).toBe('');
    return at;
  }

  /** Returns the step before which the work was ended; undefined if it has fewer steps. */
  async function killedBefore(
    before: number,
    driver: DriverName,
    kills: Killed,
    work: Work,
  ): Promise<string | undefined> {
    const name = `${work}-${kills}-${driver}-${before}`;
    await made(name, driver);
    if (work !== 'remove') await node.ok('Remove', { Name: name });
    const [entry] = await inTrash(name);
    const at = await stoodBefore(before, name, () => run(work, name, entry), kills);
    if (at === undefined) return undefined;
    const { step } = at;
    // Every other time the doctor comes first.
    if (before % 2 === 0) {
      const { findings } = await doctor('--fix');
      expect([step, findings.filter(({ state }) => state !== 'fixed')]).toEqual([step, []]);
      await waitFor(isClean, 10_000, 'the doctor to leave nothing');
    }
    const again = await run(work, name, entry);
    if (again !== '') expect([step, again]).toEqual([step, expect.stringMatching(isDone)]);
    await expectDone(work, name, entry);
    await waitFor(isClean, 10_000, 'the doctor to leave nothing');
    return step;
  }
});

/** The answers if the work was done before the kill, or the doctor has completed it. */
const isDone = /no such volume|is not in the trash|there is a volume/;
