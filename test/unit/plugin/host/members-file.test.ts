// The file that remembers the members of etcd.
import { stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { membersFile } from '../../../../plugin/host/members-file.ts';
import { makeTemporaryDirectory } from '../../../support/temporary-directory.ts';

test('the members are remembered for the same settings, in whatever order, and for no others', async () => {
  await using directory = await makeTemporaryDirectory();
  const path = join(directory.path, 'members-etcd');
  const members = { cluster: 'c', members: [{ id: '2', endpoint: '10.0.0.2:2379' }] };
  const file = await membersFile(path, ['e1:2379', 'e2:2379']);
  expect(file.before).toBeUndefined();
  await file.save(members);
  expect((await membersFile(path, ['e2:2379', 'e1:2379'])).before).toEqual(members);
  expect((await membersFile(path, ['e1:2379'])).before).toBeUndefined();
  expect((await stat(path)).mode & 0o077).toBe(0);
  await writeFile(path, '{"version":9}');
  expect((await membersFile(path, ['e1:2379', 'e2:2379'])).before).toBeUndefined();
});
