// How the sentinel stops single processes and threads that are in no container: real control groups of
// both versions, and signals where there are none. Needs root.
import { readFile, stat } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import type { ControlGroup } from '../../../lib/linux/control-group.ts';
import { childrenOf, nameOf } from '../../../lib/linux/control-group.ts';
import { processFileSync, processStatSync } from '../../../lib/linux/proc.ts';
import type { ProcessRef, User } from '../../../sentinel/ports.ts';
import { KernelStops } from '../../../sentinel/stops/kernel-stops.ts';
import { waitFor } from '../../support/processes.ts';
import { describeWith } from '../../support/requirements.ts';
import type { Writer } from './user-group.ts';
import { makeUserGroup, mountsOf, programs, versions } from './user-group.ts';

const secondThread = `
  const { appendFileSync, readlinkSync, writeFileSync } = require("node:fs");
  const { workerData: file } = require("node:worker_threads");
  writeFileSync(file + ".id", readlinkSync("/proc/thread-self"));
  setInterval(() => appendFileSync(file + ".thread", "x"), 2);`;

/** Two threads: the first writes to the file, the second to `FILE.thread`, and its ID to `FILE.id`. */
const twoThreads = `exec ${process.execPath} -e '
  const { Worker } = require("node:worker_threads");
  const file = process.argv[1];
  new Worker(${JSON.stringify(secondThread)}, { eval: true, workerData: file });
  setInterval(() => require("node:fs").appendFileSync(file, "x"), 2);' "$1"`;

function userOf({ pid }: Writer, tid?: number): User {
  const process: ProcessRef = {
    pid,
    tid,
    started: processStatSync(tid === undefined ? pid : `${pid}/task/${tid}`)?.started ?? '',
    name: processFileSync(pid, 'comm')?.trim() ?? '',
  };
  return { kind: 'host', key: `process ${pid}`, process, volumes: ['db'] };
}

function heldGroups(group: ControlGroup): string[] {
  return childrenOf(group).map(nameOf);
}

describeWith(['root'], 'stops a process of the host', () => {
  test.each(versions)(
    'and not the others of its group, until it is released (control groups v%d)',
    async (version) => {
      await using container = await makeUserGroup(version);
      if (!container) return;
      const { group } = container;
      const [writer, other] = [
        await container.start(programs.writer),
        await container.start(programs.writer),
      ];
      const user = userOf(writer);
      const stops = new KernelStops({ mounts: await mountsOf(version) });
      expect(await stops.standing(user)).toEqual({ is: 'running' });
      await stops.freeze(user);
      await stops.freeze(user);
      await stops.hold(user);
      await waitFor(async () => (await stops.standing(user)).is === 'held', 5_000, 'it to be held');
      expect(heldGroups(group)).toEqual([`berth-held-${writer.pid}`]);
      expect(await writer.writes()).toBe(false);
      await other.untilItWrites();

      const successor = new KernelStops({ mounts: await mountsOf(version) });
      await successor.release(user, false);
      await successor.release(user, false);
      await writer.untilItWrites();
      expect(await stops.standing(user)).toEqual({ is: 'running' });
      expect(heldGroups(group)).toEqual([]);

      await stops.hold(user);
      await stops.kill(user);
      expect(await writer.finished).toMatchObject({ code: 137 });
      expect(await stops.standing(user)).toEqual({ is: 'ended' });
      for (const call of [stops.freeze(user), stops.release(user, false), stops.kill(user)]) {
        await call;
      }
      const otherUser = userOf(other);
      await stops.hold(otherUser);
      expect(heldGroups(group)).toEqual([`berth-held-${other.pid}`]);
      await stops.release(otherUser, false);
    },
  );

  test('by a signal where no control group can be reached', async () => {
    await using container = await makeUserGroup(1);
    if (!container) return;
    const writer = await container.start(programs.writer);
    const user = userOf(writer);
    const stops = new KernelStops({ mounts: [] });
    expect(await stops.standing(user)).toEqual({ is: 'running' });
    await stops.freeze(user);
    await stops.hold(user);
    await waitFor(async () => (await stops.standing(user)).is === 'frozen', 5_000, 'it to stop');
    expect(await writer.writes()).toBe(false);
    await stops.release(user, true);
    expect(await writer.writes()).toBe(false);
    await stops.release(user, false);
    await writer.untilItWrites();
    expect(await stops.standing(user)).toEqual({ is: 'running' });
    await stops.freeze(user);
    await stops.kill(user);
    expect(await writer.finished).toMatchObject({ code: 137 });
  });

  test('but no later process with the same ID', async () => {
    await using container = await makeUserGroup(1);
    if (!container) return;
    const writer = await container.start(programs.writer);
    const user = userOf(writer);
    const earlier: User = {
      ...user,
      process: user.process && { ...user.process, started: '1' },
    };
    const stops = new KernelStops();
    expect(await stops.standing(earlier)).toEqual({ is: 'ended' });
    await stops.freeze(earlier);
    await stops.kill(earlier);
    await writer.untilItWrites();
  });

  test.each(versions)('or only one thread of it (control groups v%d)', async (version) => {
    await using container = await makeUserGroup(version);
    if (!container) return;
    const { group } = container;
    const writer = await container.start(twoThreads);
    const id = await waitFor(() => readFile(`${writer.file}.id`, 'utf8'), 5_000, 'the thread');
    const threadWrites = async () => {
      const before = (await stat(`${writer.file}.thread`)).size;
      await pause(150);
      return (await stat(`${writer.file}.thread`)).size > before;
    };
    const user = userOf(writer, Number(id.split('/').at(-1)));
    const stops = new KernelStops({ mounts: await mountsOf(version) });
    await waitFor(threadWrites, 5_000, 'the thread to write');
    await stops.freeze(user);
    await waitFor(async () => (await stops.standing(user)).is === 'held', 5_000, 'it to be held');
    expect(await threadWrites()).toBe(false);
    await writer.untilItWrites();
    expect(await stops.standing(userOf(writer))).toEqual({ is: 'running' });
    await expect(stops.kill(user)).rejects.toThrow(/can't be killed without its process/);
    await stops.release(user, false);
    await waitFor(threadWrites, 5_000, 'the thread to write');
    expect(await stops.standing(user)).toEqual({ is: 'running' });
    expect(heldGroups(group)).toEqual([]);

    await stops.hold(user);
    expect(await stops.isBeingKilled(user)).toBe(false);
    process.kill(writer.pid, 'SIGKILL');
    // In version 2 the kernel lets a frozen thread die, in version 1 it does not.
    const isSeen = async () =>
      (await stops.isBeingKilled(user)) || (await stops.standing(user)).is === 'ended';
    await waitFor(isSeen, 5_000, 'the kill to be seen');
    await stops.kill(user);
    expect(await writer.finished).toMatchObject({ code: 137 });
    expect(await stops.standing(user)).toEqual({ is: 'ended' });
  });

  test('and refuses a single thread where the kernel can make no group for it', async () => {
    await using container = await makeUserGroup(2);
    if (!container) return;
    const writer = await container.start(programs.writer);
    await container.start(programs.writer, await container.inner('beside'));
    const user = userOf(writer, writer.pid);
    for (const mounts of [await mountsOf(2), []]) {
      const stops = new KernelStops({ mounts });
      const refusal = /thread \d+ of sh .* can't be stopped without its process: /;
      await expect(stops.freeze(user)).rejects.toThrow(refusal);
      await expect(stops.hold(user)).rejects.toThrow(refusal);
      expect(heldGroups(container.group)).toEqual(['beside']);
      await stops.release(user, false);
      await writer.untilItWrites();
    }
  });
});
