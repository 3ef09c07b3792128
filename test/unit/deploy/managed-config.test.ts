// config.json (what the engine passes to the managed plugin) against settings.ts (what the daemon
// reads).
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { z } from 'zod';
import { loadConfig } from '../../../plugin/config/config.ts';
import { allSettings, variableOf } from '../../../plugin/config/settings.ts';

/** Settings that can't be changed in a managed plugin, with the reason. */
const fixed: Readonly<Record<string, string>> = {
  name: 'the engine calls the driver by the name of the plugin',
  socket: 'interface.socket names it',
  'admin-socket': 'lies in the state, where the host can reach it',
  'state-dir': 'a place in the plugin; the mount "state" says which of the host it is',
  'volume-dir': 'a place in the plugin; the mount "volumes" says which of the host it is',
  'mount-dir': 'has to lie below the propagated mount',
  'docker-socket': 'a place in the plugin; the mount "docker" says which of the host it is',
};

const settable = z.array(z.string()).nullable();
const schema = z.object({
  workdir: z.string(),
  entrypoint: z.array(z.string()),
  interface: z.object({ socket: z.string() }),
  propagatedMount: z.string(),
  mounts: z.array(
    z.object({ name: z.string(), source: z.string(), destination: z.string(), settable }),
  ),
  env: z.array(z.object({ name: z.string(), value: z.string(), settable })),
});

const repository = join(import.meta.dirname, '../../..');
const managed = schema.parse(JSON.parse(readFileSync(join(repository, 'config.json'), 'utf8')));
const asDelivered = Object.fromEntries(managed.env.map(({ name, value }) => [name, value]));

test('every setting is settable in config.json, or fixed for a reason', () => {
  const canBeSet = managed.env.filter((row) => row.settable?.includes('value'));
  const expected = allSettings.filter(({ name }) => fixed[name] === undefined).map(variableOf);
  expect(canBeSet.map(({ name }) => name).sort()).toEqual([...expected, 'DEBUG'].sort());

  const names = allSettings.map(({ name }) => name);
  expect(names).toEqual(expect.arrayContaining(Object.keys(fixed)));
});

test("an empty setting in config.json has the daemon's default", () => {
  const given = managed.env.filter(({ name, value }) => name.startsWith('BERTH_') && value !== '');
  expect(given.map((row) => row.settable)).toEqual([null, null, null]);
  expect(loadConfig([], asDelivered)).toMatchObject({ store: { kind: 'embedded' }, ttlMs: 20_000 });
});

test("the daemon's paths agree with the mounts that the engine makes", () => {
  const config = loadConfig([], asDelivered);
  expect(config.socket).toBe(`/run/docker/plugins/${managed.interface.socket}`);
  // The engine compares text: a directory whose name only begins like it would pass as well.
  expect(config.mountDir).toMatch(new RegExp(`^${managed.propagatedMount}/`));
  const sources = managed.mounts.filter((row) => row.settable?.includes('source'));
  const bound = Object.fromEntries(sources.map(({ name, destination }) => [name, destination]));
  expect(bound).toEqual({
    state: config.stateDir,
    volumes: config.volumeDir,
    docker: config.dockerSocket,
    etcd: '/etc/berth',
  });
  expect(config.adminSocket.startsWith(`${config.stateDir}/`)).toBe(true);
});

test('an operator has to create only one directory on the host', () => {
  const made = '/var/lib/berth/volumes';
  const always = ['/dev', '/var/run/docker.sock'];
  const needed = managed.mounts
    .map(({ source }) => source)
    .filter((path) => !always.includes(path));
  for (const path of needed) expect(`${made}/`.startsWith(`${path}/`)).toBe(true);
});

test('plugin and image start the same program at the same path', () => {
  const dockerfile = readFileSync(join(repository, 'Dockerfile'), 'utf8');
  const last = dockerfile.slice(dockerfile.lastIndexOf('\nFROM'));
  expect(last).toContain(`\nWORKDIR ${managed.workdir}\n`);
  expect(JSON.parse(/\nENTRYPOINT (.*)/.exec(last)?.[1] ?? '')).toEqual(managed.entrypoint);
});

test('the image build gets every folder that it compiles', () => {
  const build = JSON.parse(readFileSync(join(repository, 'tsconfig.build.json'), 'utf8'));
  const ignored = readFileSync(join(repository, '.dockerignore'), 'utf8').split('\n');
  expect(ignored).toEqual(expect.arrayContaining(build.include.map((name: string) => `!${name}`)));
});
