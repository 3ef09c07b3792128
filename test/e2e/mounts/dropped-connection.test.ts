// Scenario 30. After a lost connection the engine repeats the call without its body and reports
// berth's answer to that. No volume may appear that nobody asked for, and repeating the request
// must succeed. The cuts of one call run at the same time, each on its own volume, because each
// costs the engine a second. Engines and both stores are real.
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { z } from 'zod';
import type { PluggedHost } from '../../support/plugged-host.ts';
import {
  allVariants,
  describePlugged,
  embeddedVariants,
  nothing,
} from '../../support/plugged-host.ts';
import { waitFor } from '../../support/processes.ts';
import type { Cut } from '../../support/recording-proxy.ts';

const image = ['-d', 'berth', '-o', 'driver=image', '-o', 'size=64M'];
const repeated = 'the body is empty';

const cuts: Readonly<Record<string, Cut>> = {
  before: 'before',
  'at-once': { afterMs: 0 },
  'in-between': { afterMs: 12 },
  'near-the-end': { afterMs: 25 },
  after: 'after',
};

describePlugged('a lost connection', { variants: allVariants, requirements: ['loop'] }, (on) => {
  test('scenario 30: a Create whose connection is lost makes the requested volume or none', async () => {
    const { docker, dockerFails, run, proxy, call, left } = on();
    await each(async (name, cut) => {
      proxy.cutNext('Create', name, cut);
      expect(await dockerFails('volume', 'create', ...image, name)).toContain(repeated);
    });
    await quiet(on());
    const made = listed((await call('List', {})).body);
    expect(made).toContain('after');
    expect(made).not.toContain('before');
    expect(Object.keys(cuts)).toEqual(expect.arrayContaining(made));

    proxy.forget();
    await each(async (name) => {
      await docker('volume', 'create', ...image, name);
      await run(['-v', `${name}:/p`], 'echo data > /p/file');
    });
    expect(listed((await call('List', {})).body).sort()).toEqual(Object.keys(cuts).sort());
    expect(proxy.count('Create')).toBe(Object.keys(cuts).length - made.length);
    await docker('volume', 'rm', ...Object.keys(cuts));
    expect(await left()).toEqual(nothing);
  });

  test('when a client gives up, scenario 30: a Mount is rolled back when its caller does not get the answer', async () => {
    const { docker, dockerFails, proxy, mounted, store, left } = on();
    await each(async (name, cut) => {
      await docker('volume', 'create', ...image, name);
      await docker('create', '--name', name, '-v', `${name}:/p`, 'busybox', 'touch', '/p/file');
      proxy.cutNext('Mount', name, cut);
      expect(await dockerFails('start', '-a', name)).toContain(repeated);
    });
    expect(proxy.count('Unmount')).toBe(0);
    await quiet(on());
    // To berth, an answer that was sent is an answer that arrived. On a busy machine the connection
    // is cut late, and a fast answer goes first.
    const kept = await mounted();
    expect(kept).toContain('after');
    expect(kept).not.toContain('before');
    expect((await store.locks()).sort()).toEqual(kept.map((name) => `mount/${name}`).sort());

    await each(async (name) => {
      await docker('start', '-a', name);
      await docker('rm', name);
    });
    expect(await mounted()).toEqual(kept);
    for (const name of kept) await restartFrees(name);
    await docker('volume', 'rm', ...Object.keys(cuts));
    expect(await left()).toEqual(nothing);
  });

  test('scenario 30: after an Unmount that failed, the container can start again', async () => {
    const { docker, proxy, start, mounted, left } = on();
    const names = ['before', 'after'] as const;
    await each(async (name, cut) => {
      await docker('volume', 'create', ...image, name);
      await start(name, '-v', `${name}:/p`);
      proxy.cutNext('Unmount', name, cut);
      await docker('kill', name);
    }, names);
    // The engine tries each Unmount twice.
    await waitFor(() => proxy.count('Unmount') === 4, 10_000, 'the repeated calls');
    await quiet(on());
    expect(await mounted()).toEqual(['before']);
    await each(async (name) => {
      await docker('start', name);
      await docker('exec', name, 'touch', '/p/file');
      await docker('rm', '-f', name);
    }, names);
    await restartFrees('before');
    await docker('volume', 'rm', ...names);
    expect(await left()).toEqual(nothing);
  });

  test('scenario 30: a Remove whose connection is lost leaves the whole volume or nothing', async () => {
    const { docker, dockerFails, run, proxy, left } = on();
    const names = ['before', 'after'] as const;
    await each(async (name, cut) => {
      await docker('volume', 'create', ...image, name);
      await run(['-v', `${name}:/p`], 'echo data > /p/file');
      proxy.cutNext('Remove', name, cut);
      expect(await dockerFails('volume', 'rm', name)).toContain(repeated);
    }, names);
    expect(await dockerFails('volume', 'inspect', 'after')).toMatch(/no such volume/i);
    expect(await run(['-v', 'before:/p'], 'cat /p/file')).toBe('data');
    await docker('volume', 'rm', 'before');
    expect(await left()).toEqual(nothing);
  });

  /**
   * Restarts berth, which then drops the mount that no container has, because it asks the engine.
   */
  async function restartFrees(name: string): Promise<void> {
    const { berth, left } = on();
    await berth.stop();
    await berth.start();
    const isFree = async () => {
      const { mounts, locks } = await left();
      return !mounts.includes(name) && !locks.includes(`mount/${name}`);
    };
    await waitFor(isFree, 15_000, 'the unmount');
  }
});

describePlugged('a lost Get', { variants: embeddedVariants.slice(1) }, (on) => {
  test('scenario 30: a Get whose connection is lost, however often, does the volume no harm', async () => {
    const { docker, dockerFails, proxy } = on();
    await docker('volume', 'create', '-d', 'berth', '--label', 'tier=gold', 'db');
    proxy.cutNext('Get', 'db', 'before');
    await dockerFails('volume', 'inspect', 'db');
    expect(proxy.calls.filter(({ body }) => body === undefined).length).toBeGreaterThan(2);
    // An error instead of a closed connection would have made the engine forget the label.
    expect(await docker('volume', 'inspect', '-f', '{{.Labels.tier}}', 'db')).toBe('gold');
  });
});

async function each(
  work: (name: string, cut: Cut) => Promise<void>,
  names: readonly string[] = Object.keys(cuts),
): Promise<void> {
  await Promise.all(names.map((name) => work(name, cuts[name] ?? 'before')));
}

/** Waits until berth has no work left: what has to be rolled back is rolled back. */
async function quiet({ left }: PluggedHost): Promise<void> {
  let before = '';
  const isStill = async () => {
    await delay(100);
    const now = JSON.stringify(await left());
    const isSame = now === before;
    before = now;
    return isSame;
  };
  await waitFor(isStill, 5_000, 'berth to have finished');
}

function listed(body: unknown): string[] {
  return listSchema.parse(body).Volumes.map(({ Name }) => Name);
}

const listSchema = z.object({ Volumes: z.array(z.object({ Name: z.string() })) });
