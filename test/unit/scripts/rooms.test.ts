import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { arrowsBetween, importGraph, roomFaults, topRoom } from '../../../scripts/rooms.ts';

const root = join(import.meta.dirname, '../../..');

test('the house has no circle of imports, and few rooms and arrows at the top', () => {
  expect(roomFaults(importGraph(root))).toEqual([]);
});

test('imports are seen, of types too', () => {
  const arrows = arrowsBetween(importGraph(root), topRoom);
  expect([...(arrows.get('lib/running') ?? [])]).toEqual(['lib/linux']);
  const used = [...(arrows.get('cli') ?? [])].sort();
  expect(used).toEqual(['lib/linux', 'lib/lock', 'plugin']);
});

test('a circle is named', () => {
  const circle = new Map([
    ['lib/lock/a.ts', ['lib/lock/b.ts']],
    ['lib/lock/b.ts', ['lib/lock/c.ts']],
    ['lib/lock/c.ts', ['lib/lock/a.ts']],
  ]);
  const way = 'lib/lock/a.ts → lib/lock/b.ts → lib/lock/c.ts → lib/lock/a.ts';
  expect(roomFaults(circle)).toEqual([`a circle of imports: ${way}`]);
});

test('a circle of rooms is named although no file is in a circle', () => {
  const circle = new Map([
    ['plugin/http/one.ts', ['plugin/admin/two.ts']],
    ['plugin/admin/three.ts', ['plugin/http/four.ts']],
    ['lib/etcd/one.ts', ['lib/lock/two.ts']],
    ['lib/lock/three.ts', ['lib/etcd/four.ts']],
  ]);
  expect(roomFaults(circle)).toEqual([
    'a circle of rooms: lib/etcd → lib/lock → lib/etcd',
    'a circle of rooms in plugin: http → admin → http',
  ]);
});

test('too many rooms and arrows are counted', () => {
  const names = Array.from({ length: 15 }, (_, index) => `lib/room${index}/a.ts`);
  const house = new Map(names.map((name, index) => [name, names.slice(index + 1)]));
  expect(roomFaults(house)).toEqual([
    '15 rooms at the top, at most 14',
    '105 arrows at the top, at most 20',
  ]);
});
