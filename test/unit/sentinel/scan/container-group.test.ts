// Which container a process is in, by the text of /proc/PID/cgroup as engines and their users write it.

import { expect, test } from '@jest/globals';
import { parseMountInfo } from '../../../../lib/linux/mountinfo.ts';
import { containerGroupIn, reach } from '../../../../sentinel/scan/container-group.ts';

const id = 'a1'.repeat(32);
const other = 'b2'.repeat(32);

const onVersion1 = (path: string) => `9:name=systemd:${path}\n6:freezer:${path}\n0::/\n`;
const onVersion2 = (path: string) => `0::${path}\n`;

test.each([
  ['Docker', `/docker/${id}`],
  ['Docker under systemd', `/system.slice/docker-${id}.scope`],
  ['Podman', `/machine.slice/libpod-${id}.scope`],
  ['CRI-O', `/kubepods.slice/kubepods-pod1.slice/crio-${id}.scope`],
  ['containerd with another driver', `/system.slice:docker:${id}`],
  ['a parent of its own', `/lab/${id}`],
])('finds the container of %s, on both versions', (_, path) => {
  expect(containerGroupIn(onVersion1(path))).toEqual({ path, id, hierarchy: 1 });
  expect(containerGroupIn(onVersion2(path))).toEqual({ path, id, hierarchy: 2 });
});

test('a process in no container has none', () => {
  for (const path of [
    '/',
    '/user.slice',
    `/x-${'g'.repeat(64)}`,
    `/${id}0`,
    `/${'A'.repeat(64)}`,
  ]) {
    expect(containerGroupIn(onVersion1(path))).toBeUndefined();
  }
  expect(containerGroupIn('')).toBeUndefined();
});

test('the last name that is an ID counts, not a parent that was named like one', () => {
  const path = `/x/${other}/${id}`;
  expect(containerGroupIn(onVersion1(path))).toMatchObject({ path, id });
});

test('groups that a container has made are part of it', () => {
  const path = `/docker/${id}`;
  expect(containerGroupIn(onVersion1(`${path}/berth-held`))).toMatchObject({ path, id });
  expect(containerGroupIn(onVersion2(`${path}/system.slice/db:1`))).toMatchObject({ path, id });
});

test('docker-in-docker: a nested container has a group of its own', () => {
  const path = `/docker/${other}/docker/${id}`;
  expect(containerGroupIn(onVersion1(path))).toMatchObject({ path, id });
});

test('a group of version 2 is found beside the hierarchies of version 1', () => {
  const text = `6:freezer:/\n0::/lab/${id}\n`;
  expect(containerGroupIn(text)).toEqual({ path: `/lab/${id}`, id, hierarchy: 2 });
});

test('a container without a freezer is known, but not reached', () => {
  const container = containerGroupIn(`9:name=systemd:/lab/${id}\n6:freezer:/\n0::/\n`);
  expect(container).toEqual({ path: `/lab/${id}`, id, hierarchy: undefined });
  expect(container && reach(container, mounts)).toBeUndefined();
});

const mounts = parseMountInfo(`30 20 0:28 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
31 20 0:29 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer
32 20 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
`);

test('reaches a group in its own hierarchy', () => {
  const path = `/lab/${id}`;
  expect(reach({ path, hierarchy: 1 }, mounts)).toEqual({
    path: `/sys/fs/cgroup/freezer/lab/${id}`,
    version: 1,
  });
  expect(reach({ path, hierarchy: 2 }, mounts)).toEqual({
    path: `/sys/fs/cgroup/unified/lab/${id}`,
    version: 2,
  });
  expect(reach({ path, hierarchy: 2 }, mounts.slice(0, 2))).toBeUndefined();
});
