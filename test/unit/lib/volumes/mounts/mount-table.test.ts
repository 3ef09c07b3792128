// The mount table in real files: what is on disk when, how often the disk is asked, what a disk that
// fails does, and what is left after a kill. A manual clock; the killed process is a real one.
import { spawn } from 'node:child_process';
import { readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { UnavailableError } from '../../../../../lib/volumes/errors.ts';
import { lostId } from '../../../../../lib/volumes/mounts/mount-row.ts';
import { MountTable } from '../../../../../lib/volumes/mounts/mount-table.ts';
import { baseText, putLine, readTable } from '../../../../../lib/volumes/mounts/table-text.ts';
import { eventually } from '../../../../support/eventually.ts';
import { ManualClock } from '../../../../support/manual-clock.ts';
import { mountRow } from '../../../../support/mount-row.ts';
import { makeTemporaryDirectory } from '../../../../support/temporary-directory.ts';
import type { WatchedFile } from '../../../../support/watched-file.ts';
import { watchedFile } from '../../../../support/watched-file.ts';

let resources: AsyncDisposableStack;
let directory: string;
let path: string;
let clock: ManualClock;
let file: WatchedFile;

beforeEach(async () => {
  resources = new AsyncDisposableStack();
  ({ path: directory } = resources.use(await makeTemporaryDirectory()));
  path = join(directory, 'mounts.json');
  clock = new ManualClock();
  file = watchedFile(path);
});

afterEach(async () => {
  file.release(); // A failed test must not hang.
  await resources.disposeAsync();
});

async function openTable(): Promise<MountTable> {
  const table = resources.use(await MountTable.open(path, clock, file));
  Object.assign(file.calls, { append: 0, sync: 0, replace: 0 });
  return table;
}

const text = () => readFile(path, 'utf8');
const row = async (volume: string) => readTable(await text()).rows.get(volume);
const stored = async () => [...readTable(await text()).rows.keys()];

describe('the disk', () => {
  test('is asked once for a row that is begun and completed, and once for its end', async () => {
    const table = await openTable();
    const begun = await table.begin(mountRow('db', { mountIds: new Map() }));
    await table.complete(mountRow('db'), begun);
    expect(file.calls).toEqual({ append: 2, sync: 1, replace: 0 });
    await (await table.delete('db')).synced;
    expect(file.calls).toEqual({ append: 3, sync: 2, replace: 0 });
  });

  test('has a begun row, and then its ID, before any sync has ended; a row is complete after one', async () => {
    const table = await openTable();
    file.holdSync();
    const begun = await table.begin(mountRow('db', { mountIds: new Map() }));
    expect(await stored()).toEqual(['db']);
    let isComplete = false;
    const completing = table.complete(mountRow('db'), begun).then(() => {
      isComplete = true;
    });
    await eventually(async () => expect((await row('db'))?.mountIds.size).toBe(1));
    expect(isComplete).toBe(false);
    file.release();
    await completing;
    expect(file.calls.sync).toBe(1);
  });

  test('has no deleted row any more before the sync of its end', async () => {
    const table = await openTable();
    await table.put(mountRow('db'));
    file.holdSync();
    const { synced } = await table.delete('db');
    expect(await stored()).toEqual([]);
    file.release();
    await synced;
  });

  test('is asked twice for 16 rows that come together', async () => {
    const table = await openTable();
    file.holdSync();
    const first = table.put(mountRow('first'));
    await eventually(() => expect(file.calls.sync).toBe(1));
    const others = Array.from({ length: 15 }, (_, index) => table.put(mountRow(`v${index}`)));
    await eventually(async () => expect(await stored()).toHaveLength(16));
    expect(table.rows()).toEqual([]); // Nothing counts before it is on disk.
    file.release();
    await Promise.all([first, ...others]);
    expect(file.calls.sync).toBe(2);
    expect(table.rows()).toHaveLength(16);
  });

  test('gets a short file when the changes have grown longer than the rows', async () => {
    const table = await openTable();
    for (let round = 0; round < 250; round++) await table.put(mountRow('db'));
    expect(file.calls.replace).toBe(1);
    expect((await text()).length).toBeLessThan(66_000);
    expect(await stored()).toEqual(['db']);
  });
});

describe('a disk that refuses', () => {
  const full = Object.assign(new Error('no space left'), { code: 'ENOSPC' });
  const all = ['append', 'sync', 'replace'] as const;

  test.each(['append', 'sync'] as const)(
    'a row at its %s: the row does not count, and the file is replaced',
    async (call) => {
      const table = await openTable();
      await table.put(mountRow('a'));
      file.failWith(full, call);
      await expect(table.put(mountRow('b'))).rejects.toThrow(UnavailableError);
      expect(table.rows().map(({ volume }) => volume)).toEqual(['a']);
      expect(table.conditions()).toMatchObject([
        { severity: 'error', message: expect.stringMatching(/can't be written down: the disk is/) },
      ]);
      file.failWith(undefined, call);
      await table.put(mountRow('c'));
      expect(file.calls.replace).toBe(1);
      expect(await stored()).toEqual(['a', 'c']);
      expect(table.conditions()).toEqual([]);
    },
  );

  test('an Unmount: the row is gone at once, and from the file when the disk accepts it', async () => {
    const table = await openTable();
    await table.put(mountRow('a'));
    file.failWith(full, ...all);
    await table.delete('a');
    expect(table.rows()).toEqual([]);
    await clock.pass(1_000);
    expect(await stored()).toEqual(['a']);
    file.failWith(undefined, ...all);
    clock.advance(1_000);
    await eventually(async () => expect(await stored()).toEqual([]));
    await eventually(() => expect(table.conditions()).toEqual([]));
  });

  test('the sync of a begun row: the row can not be completed, and is gone after its end', async () => {
    const table = await openTable();
    file.holdSync();
    const begun = await table.begin(mountRow('db', { mountIds: new Map() }));
    file.failWith(full, 'sync');
    file.release();
    await expect(table.complete(mountRow('db'), begun)).rejects.toThrow(UnavailableError);
    file.failWith(undefined, 'sync');
    await (await table.delete('db')).synced;
    expect(table.rows()).toEqual([]);
    expect(await stored()).toEqual([]);
  });

  test('another sync: a begun row that waits for the next one keeps the ID that it has since', async () => {
    const table = await openTable();
    file.holdSync();
    const first = table.put(mountRow('first'));
    await eventually(() => expect(file.calls.sync).toBe(1));
    const begun = await table.begin(mountRow('db', { mountIds: new Map() }));
    const completing = table.complete(mountRow('db'), begun);
    await eventually(async () => expect((await row('db'))?.mountIds.size).toBe(1));
    file.failWith(full, 'sync');
    file.release();
    await expect(first).rejects.toThrow(UnavailableError);
    await completing;
    expect(file.calls.replace).toBe(1);
    expect((await row('db'))?.mountIds.size).toBe(1);
  });

  test('a sync: what was written during the sync is written again, and is not refused', async () => {
    const table = await openTable();
    file.holdSync();
    const first = table.put(mountRow('first'));
    await eventually(() => expect(file.calls.sync).toBe(1));
    const second = table.put(mountRow('second'));
    await eventually(async () => expect(await stored()).toEqual(['first', 'second']));
    file.failWith(full, 'sync');
    file.release();
    await expect(first).rejects.toThrow(UnavailableError);
    await second;
    expect(file.calls.replace).toBe(1);
    expect(table.rows().map(({ volume }) => volume)).toEqual(['second']);
    expect(await stored()).toEqual(['second']);
  });

  test('at the start: the table is read, and says what is wrong', async () => {
    await writeFile(path, `${baseText([mountRow('a')])}{"put":{"vol`);
    file.failWith(full, 'replace');
    const table = resources.use(await MountTable.open(path, clock, file));
    expect(table.rows().map(({ volume }) => volume)).toEqual(['a']);
    expect(table.conditions()).toMatchObject([{ severity: 'error' }]);
    file.failWith(undefined, 'replace');
    await table.put(mountRow('b'));
    expect(await stored()).toEqual(['a', 'b']);
    expect(await text()).not.toContain('"vol\n');
  });
});

test.each<[what: string, spoil: () => Promise<unknown>]>([
  ['deleted', () => rm(path)],
  ['replaced by another', () => writeFile(`${path}.x`, 'x').then(() => rename(`${path}.x`, path))],
])('a table that somebody has %s is whole again with the next change', async (_what, spoil) => {
  await (await openTable()).put(mountRow('a'));
  const table = resources.use(await MountTable.open(path, clock));
  await spoil();
  await table.put(mountRow('b'));
  expect(await stored()).toEqual(['a', 'b']);
});

test('an orderly stop leaves a table that an earlier release reads', async () => {
  const table = await openTable();
  await table.put(mountRow('a'));
  await table.put(mountRow('b'));
  await table.delete('a');
  await table[Symbol.asyncDispose]();
  expect(JSON.parse(await text())).toMatchObject({ version: 1, rows: [{ volume: 'b' }] });
});

test('the table of an earlier release is taken over', async () => {
  const rows = JSON.parse(baseText([mountRow('a'), mountRow('b')])).rows;
  await writeFile(path, JSON.stringify({ version: 1, rows }, undefined, 1));
  const table = await openTable();
  expect(table.rows()).toEqual([mountRow('a'), mountRow('b')]);
  expect(table.conditions()).toEqual([]);
  expect(await text()).toBe(baseText(table.rows()));
});

test('the table of a later release is refused, with what to do', async () => {
  await writeFile(path, '{"version":2,"rows":[\n]}\n');
  await expect(MountTable.open(path, clock)).rejects.toThrow(
    /mounts\.json was written by a later release of berth: it has format 2.*; run that release/,
  );
});

describe('a part that can not be read', () => {
  const damaged = putLine(mountRow('b')).replace('"ticket"', 'ticket');

  test('is kept aside, is a condition, and its volume is in doubt', async () => {
    const before = baseText([mountRow('a')]) + damaged;
    await writeFile(path, before);
    const table = await openTable();
    expect(table.rows()).toEqual([mountRow('a')]);
    expect(table.doubtful).toEqual(['b']);
    const aside = (await readdir(directory)).find((name) => name.includes('unreadable'));
    expect(await readFile(join(directory, aside ?? ''), 'utf8')).toBe(before);
    expect(table.conditions()).toMatchObject([
      {
        severity: 'warning',
        message: expect.stringMatching(/could not be read completely, about b: .* is kept in /),
      },
    ]);
    expect(readTable(await text())).toMatchObject({ isBase: true, unreadable: [] });
  });

  test('after a readable row of its volume may have added a use', async () => {
    await writeFile(path, baseText([mountRow('b')]) + damaged);
    const table = await openTable();
    expect([...(table.get('b')?.mountIds.keys() ?? [])]).toEqual(['id1', lostId]);
    expect(table.doubtful).toEqual([]);
  });

  test('is never overwritten by a disk that can not keep it aside', async () => {
    const before = baseText([mountRow('a')]) + damaged;
    await writeFile(path, before);
    const table = resources.use(await MountTable.open(path, new BrokenDate()));
    await expect(table.put(mountRow('c'))).rejects.toThrow(UnavailableError);
    expect(await text()).toBe(before);
  });
});

/** A clock whose date makes the name of the copy impossible. */
class BrokenDate extends ManualClock {
  override date(): Date {
    const date = super.date();
    date.toISOString = () => 'no/such/directory';
    return date;
  }
}

test.each([1, 2, 3, 8, 21])(
  'a process killed after its report %i leaves every row that it had reported',
  async (reports) => {
    const script = join(import.meta.dirname, 'mount-table-writer.ts');
    const writer = spawn(process.execPath, [script, path], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const said: string[] = [];
    for await (const line of createInterface(writer.stdout)) {
      said.push(line);
      if (said.length === reports) writer.kill('SIGKILL');
    }
    const [what, volume = ''] = said.at(-1)?.split(' ') ?? [];
    const number = Number(volume.slice(1));
    const [before, next, afterNext] = [-1, 1, 2].map((step) => `v${number + step}`);
    // What the process did after its last report may or may not be there.
    const possible =
      what === 'put'
        ? number === 1
          ? [['v1'], ['v1', 'v2']]
          : [[before, volume], [volume]]
        : [[next], [next, afterNext]];
    expect(possible).toContainEqual(await stored());
    expect(readTable(await text()).unreadable).toEqual([]);
  },
);
