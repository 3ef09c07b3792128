// What a daemon remembers of etcd's history over its restart.
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { historyFile } from '../../../../plugin/host/history-file.ts';
import { makeTemporaryDirectory } from '../../../support/temporary-directory.ts';

const remembered = { id: 'a', cluster: '7', revision: 5, ttlMs: 20_000 };

test('the history and the highest revision are there at the next start', async () => {
  await using directory = await makeTemporaryDirectory();
  const path = join(directory.path, 'history-etcd');
  const first = await historyFile(path, '/berth');
  expect(first.before).toBeUndefined();
  await first.save(remembered);
  await first.save({ ...remembered, revision: 9 });
  expect((await historyFile(path, '/berth')).before).toEqual({ ...remembered, revision: 9 });
  expect((await historyFile(path, '/other')).before).toBeUndefined();
});

test('a revision that a crash has cut off, or of an earlier history, does not hide the history', async () => {
  await using directory = await makeTemporaryDirectory();
  const path = join(directory.path, 'history-etcd');
  const file = await historyFile(path, '/berth');
  await file.save(remembered);
  await file.save({ ...remembered, revision: 9 });
  await writeFile(`${path}.revision`, '');
  expect((await historyFile(path, '/berth')).before).toEqual(remembered);
  await file.save({ ...remembered, revision: 12 });
  await file.save({ ...remembered, id: 'b', revision: 3 });
  expect(await readFile(`${path}.revision`, 'utf8')).toBe('a 12');
  expect((await historyFile(path, '/berth')).before).toMatchObject({ id: 'b', revision: 3 });
});
