// Mounts of a volume for one container that is mounted already: the engine is played, the rest is real
// but the kernel's mounts.
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { InUseError } from '../../../../../lib/volumes/errors.ts';
import type { VolumeContainers } from '../../../../../lib/volumes/mounts/one-container.ts';
import type { HostVolumes } from '../../../../support/host-volumes.ts';
import { hostVolumes, standInPath } from '../../../../support/host-volumes.ts';

const context = { signal: new AbortController().signal };
const web = { id: 'a'.repeat(64), name: 'web' };
const next = { id: 'b'.repeat(64), name: 'next' };
const podmanId = '2f73349cfc4630255319c6c8dfc1b46a8996ace9d14d8e07563b165915918ec2';

let host: HostVolumes;
let engine: () => Promise<VolumeContainers>;

beforeEach(async () => {
  host = await hostVolumes({ askEngine: () => engine() });
  await host.volumes.create({ name: 'db', options: { access: 'container' } }, context);
  await host.volumes.mount('db', 'first', context);
});

afterEach(() => host[Symbol.asyncDispose]());

const mount = (id: string) => host.volumes.mount('db', id, context);
const uses = () => [...(host.table.get('db')?.mountIds.keys() ?? [])];
const mountpoint = () => `${host.mountDir}/db`;

test('clients F5: an engine that creates a container gets a stand-in, and its Unmount ends nothing', async () => {
  engine = async () => ({ running: [web], busy: [] });
  expect(await mount('copy')).toBe(standInPath);
  await host.volumes.unmount('db', 'copy', context);
  expect(uses()).toEqual(['first']);
});

test('clients F1: a start beside a running container is refused', async () => {
  engine = async () => ({ running: [web], busy: [next] });
  await expect(mount('second')).rejects.toThrow(InUseError);
  expect(uses()).toEqual(['first']);
});

test('the second place of the container that starts is served', async () => {
  engine = async () => ({ running: [], busy: [web] });
  expect(await mount('second-place')).toBe(mountpoint());
});

test('a start waits while it is not known which container starts, and is served when the other has gone', async () => {
  let isOver = false;
  engine = async () => ({ running: [], busy: isOver ? [next] : [web, next] });
  const mounting = mount('second');
  await host.clock.pass(300);
  isOver = true;
  await host.volumes.unmount('db', 'first', context);
  await host.clock.pass(1_000);
  expect(await mounting).toBe(mountpoint());
  expect(uses()).toEqual(['second']);
});

test('an answer that came before an Unmount is not used after it', async () => {
  engine = async () => {
    await host.volumes.unmount('db', 'first', context);
    return { running: [web], busy: [next] };
  };
  expect(await mount('second')).toBe(mountpoint());
  expect(uses()).toEqual(['second']);
});

test('an answer that came before another container got the volume is not used after it', async () => {
  let isAsked = false;
  engine = async () => {
    if (isAsked) return { running: [next], busy: [web] };
    isAsked = true;
    await host.volumes.unmount('db', 'first', context);
    await mount('next');
    return { running: [], busy: [web] };
  };
  await expect(mount('second')).rejects.toThrow(/is used by the container next/);
  expect(uses()).toEqual(['next']);
});

test('clients F4: Podman is refused, also as the first', async () => {
  engine = async () => ({ running: [], busy: [] });
  await expect(mount(podmanId)).rejects.toThrow(/can't be kept with Podman/);
  await host.volumes.unmount('db', 'first', context);
  await expect(mount(podmanId)).rejects.toThrow(/can't be kept with Podman/);
  expect(host.table.rows()).toEqual([]);
});

test('clients F9: a name of one letter is refused in Create and Copy, and says why', async () => {
  const create = host.volumes.create({ name: 'y', options: {} }, context);
  await expect(create).rejects.toThrow(/"y" is too short.*at least two characters/);
  await expect(host.volumes.copy({ volume: 'db' }, 'y', context)).rejects.toThrow(/too short/);
});
