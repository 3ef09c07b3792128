// Users are gathered from tasks: each once, with all its volumes.

import { expect, test } from '@jest/globals';
import { UserList } from '../../../../sentinel/scan/user-list.ts';

const asked = ['a', 'b'].map((volume) => ({ volume, mountpoint: `/mounts/${volume}` }));
const container = {
  path: '/docker/1',
  id: '1',
  hierarchy: 1,
  group: undefined,
  isOurs: true,
} as const;
const dockerd = { pid: 7, started: '1', name: 'dockerd' };
const thread = { ...dockerd, tid: 9, started: '5' };

test('a container is one user, with the volumes of all its tasks in the order asked for', () => {
  const users = new UserList();
  users.addContainer(container, ['b']);
  users.addContainer(container, ['a', 'b']);
  expect(users.all(asked)).toEqual([
    { kind: 'container', key: '/docker/1', id: '1', group: undefined, volumes: ['a', 'b'] },
  ]);
});

test('two groups are two users, whatever their IDs', () => {
  const users = new UserList();
  users.addContainer(container, ['a']);
  users.addContainer({ ...container, path: '/docker/2' }, ['a']);
  expect(users.all(asked).map(({ key }) => key)).toEqual(['/docker/1', '/docker/2']);
});

test('the volumes of a PID namespace are those of all its users', () => {
  const users = new UserList();
  users.share('pid:[1]', ['a']);
  users.share('pid:[1]', ['b']);
  expect(users.sharedIn('pid:[1]')).toEqual(['a', 'b']);
  expect(users.sharedIn('pid:[2]')).toEqual([]);
});

test("only the thread of an engine is named for what that thread's own mounts show", () => {
  const users = new UserList();
  users.addEngine(dockerd, ['a', 'b']);
  users.addEngine(thread, ['a']);
  expect(users.all(asked)).toEqual([
    { kind: 'engine', key: '7 1', process: dockerd, volumes: ['b'] },
    { kind: 'engine', key: '7/9 5', process: thread, volumes: ['a'] },
  ]);
});

test('a process that has ended meanwhile is nobody', () => {
  const users = new UserList();
  users.addHost(undefined, ['a']);
  users.addHost({ pid: 8, started: '2', name: 'tar' }, ['a']);
  expect(users.all(asked)).toMatchObject([{ kind: 'host', key: '8 2', volumes: ['a'] }]);
});
