// config.json says what the engine gives to the managed plugin; settings.ts what the daemon reads.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { z } from 'zod';
import { loadConfig } from '../../../plugin/config/config.ts';
import { allSettings, variableOf } from '../../../plugin/config/settings.ts';

/** Settings that can't be set in a managed plugin, and why. */
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

test('every setting can be set, or is fixed for a reason', () => {
  const canBeSet = managed.env.filter((row) => row.settable?.includes('value'));
  const expected = allSettings.filter(({ name }) => fixed[name] === undefined).map(variableOf);
  expect(canBeSet.map(({ name }) => name).sort()).toEqual([...expected, 'DEBUG'].sort());

  const names = allSettings.map(({ name }) => name);
  expect(names).toEqual(expect.arrayContaining(Object.keys(fixed)));
});

test('what is not set has the default of the daemon', () => {
  const given = managed.env.filter(({ name, value }) => name.startsWith('BERTH_') && value !== '');
  expect(given.map((row) => row.settable)).toEqual([null, null, null]);
  expect(loadConfig([], asDelivered)).toMatchObject({ store: { kind: 'embedded' }, ttlMs: 20_000 });
});

test('the daemon looks where the engine has put things', () => {
  const config = loadConfig([], asDelivered);
  expect(config.socket).toBe(`/run/docker/plugins/${managed.interface.socket}`);
  // The engine compares the text: a sibling whose name only begins alike would pass as well.
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

test('one directory made on the host is all that has to be there', () => {
  const made = '/var/lib/berth/volumes';
  const always = ['/dev', '/var/run/docker.sock'];
  const needed = managed.mounts
    .map(({ source }) => source)
    .filter((path) => !always.includes(path));
  for (const path of needed) expect(`${made}/`.startsWith(`${path}/`)).toBe(true);
});

test('plugin and image start the same program at the same place', () => {
  const dockerfile = readFileSync(join(repository, 'Dockerfile'), 'utf8');
  const last = dockerfile.slice(dockerfile.lastIndexOf('\nFROM'));
  expect(last).toContain(`\nWORKDIR ${managed.workdir}\n`);
  expect(JSON.parse(/\nENTRYPOINT (.*)/.exec(last)?.[1] ?? '')).toEqual(managed.entrypoint);
});
