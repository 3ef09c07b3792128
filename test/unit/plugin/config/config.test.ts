// Settings from flags and environment, their defaults and their errors.

import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { describe, expect, test } from '@jest/globals';
import { z } from 'zod';
import type { Config } from '../../../../plugin/config/config.ts';
import { loadConfig } from '../../../../plugin/config/config.ts';
import { ConfigError } from '../../../../plugin/config/config-error.ts';
import {
  allSettings,
  flagOf,
  settingsHelp,
  variableOf,
} from '../../../../plugin/config/settings.ts';

const defaults: Config = {
  name: 'berth',
  socket: '/run/docker/plugins/berth.sock',
  adminSocket: '/run/berth/admin.sock',
  store: { kind: 'embedded' },
  prefix: '/berth',
  stateDir: '/var/lib/berth',
  volumeDir: '/var/lib/berth/volumes',
  mountDir: '/var/lib/berth/mounts',
  host: 'n1',
  ttlMs: 20_000,
  lockTimeoutMs: 25_000,
  onLostRestart: 'yes',
  reconcileIntervalMs: 60_000,
  driver: 'directory',
  defaultAccess: { image: 'container', directory: 'host' },
  overcommit: 1,
  trashMs: 0,
  dockerSocket: '/var/run/docker.sock',
  fenceCommand: undefined,
  fenceHostProcesses: false,
  holdLimitMs: 10_000,
};

const host = { BERTH_HOST: 'n1' };

function problemsOf(argv: string[], env: Record<string, string> = host): string[] {
  try {
    loadConfig(argv, env);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    for (const { setting } of error.problems) expect(error.message).toContain(setting);
    return error.problems.map(({ setting, value, hint }) => `${setting}|${value ?? ''}|${hint}`);
  }
  return [];
}

test('without settings, the documented defaults apply', () => {
  expect(loadConfig([], host)).toEqual(defaults);
});

test("the host defaults to the machine's name", () => {
  expect(loadConfig([], {}).host).toBe(hostname());
});

test.each<[argv: string, env: Record<string, string>, expected: Partial<Config>]>([
  ['--state-dir /x', {}, { stateDir: '/x', volumeDir: '/x/volumes', mountDir: '/x/mounts' }],
  ['--state-dir=/x/', {}, { stateDir: '/x', volumeDir: '/x/volumes', mountDir: '/x/mounts' }],
  ['', { BERTH_NAME: 'b2' }, { name: 'b2', socket: '/run/docker/plugins/b2.sock' }],
  ['--ttl 1m', { BERTH_TTL: '10s' }, { ttlMs: 60_000 }],
  ['--ttl 1m', { BERTH_TTL: 'nonsense' }, { ttlMs: 60_000 }],
  ['', { BERTH_TTL: '' }, {}],
  ['--lock-timeout 0s', {}, { lockTimeoutMs: 0 }],
  ['--lock-timeout 500ms', {}, { lockTimeoutMs: 500 }],
  ['--fence-host-processes', {}, { fenceHostProcesses: true }],
  ['--fence-host-processes --ttl 1m', {}, { fenceHostProcesses: true, ttlMs: 60_000 }],
  ['--fence-host-processes no --ttl=1m', {}, { ttlMs: 60_000 }],
  ['', { BERTH_FENCE_HOST_PROCESSES: 'yes' }, { fenceHostProcesses: true }],
  [
    `--admin-socket /${'s'.repeat(97)}`,
    {},
    { adminSocket: `/${'s'.repeat(97)}` }, // 98 bytes, and 107 with .sentinel
  ],
  ['', { BERTH_LOCK_TOKEN: '7', DEBUG: 'berth:*' }, {}],
  [
    '--store etcd://n1:2379,[fd00::1]:2380',
    {},
    { store: { kind: 'etcd', tls: false, endpoints: ['n1:2379', '[fd00::1]:2380'] } },
  ],
  [
    '--store etcds://n1:2379 --etcd-ca /ca --etcd-cert /c --etcd-key /k --etcd-user u --etcd-password-file /p',
    {},
    {
      store: {
        kind: 'etcd',
        tls: true,
        endpoints: ['n1:2379'],
        caFile: '/ca',
        certFile: '/c',
        keyFile: '/k',
        user: 'u',
        passwordFile: '/p',
      },
    },
  ],
])('%s %j is accepted', (argv, env, expected) => {
  const config = loadConfig(argv.split(' ').filter(Boolean), { ...host, ...env });
  expect(config).toEqual({ ...defaults, ...expected });
});

describe.each<[argv: string, problem: RegExp]>([
  ['--ttl 4s', /^--ttl\|4s\|use whole seconds from 5s/],
  ['--ttl 5500ms', /^--ttl\|5500ms\|use whole seconds/],
  ['--ttl 30', /^--ttl\|30\|use whole seconds/],
  ['--ttl -5s', /^--ttl\|-5s\|/],
  ['--reconcile-interval 0s', /^--reconcile-interval\|0s\|use 1s to 1h/],
  ['--lock-timeout 51s', /^--lock-timeout\|51s\|use 0s to 50s/],
  ['--lock-timeout 1e9s', /^--lock-timeout\|1e9s\|/],
  ['--state-dir var', /^--state-dir\|var\|use an absolute path$/],
  ['--host a/b', /^--host\|a\/b\|use 1 to 64 of/],
  [`--host ${'h'.repeat(65)}`, /^--host\|h+\|use 1 to 64 of/],
  ['--name ../x', /^--name\|\.\.\/x\|use 1 to 64 of/],
  [`--socket /${'s'.repeat(107)}`, /^--socket\|.*at most 107 bytes/],
  [`--admin-socket /${'s'.repeat(98)}`, /^--admin-socket\|.*at most 98 bytes .*\.sentinel/],
  ['--fence-host-processes true', /^--fence-host-processes\|true\|use one of yes, no/],
  ['--prefix berth', /^--prefix\|berth\|use \/WORD/],
  ['--prefix /berth/', /^--prefix\|/],
  ['--driver zfs', /^--driver\|zfs\|use one of directory, image/],
  [
    '--default-access image=shared',
    /^--default-access\|image=shared\|use directory=container\|host,image=/,
  ],
  ['--default-access zfs=host', /^--default-access\|zfs=host\|/],
  ['--default-access image', /^--default-access\|image\|/],
  ['--default-access image=host,image=host', /^--default-access\|/],
  ['--store redis://x', /^--store\|redis:\/\/x\|use embedded, etcd:/],
  ['--store etcd://', /^--store\|/],
  ['--store etcd://n1', /^--store\|/],
  ['--store etcd://n1:0', /^--store\|/],
  ['--store etcd://n1:2379,', /^--store\|/],
  ['--store etcd://u:p@n1:2379', /^--store\|/],
  ['--etcd-ca /ca', /^--etcd-ca\|\/ca\|is for --store etcd/],
  ['--store etcd://n:1 --etcd-ca /ca', /^--etcd-ca\|\/ca\|is for --store etcds/],
  ['--store etcds://n:1 --etcd-cert /c', /^--etcd-cert\|\/c\|needs etcd-cert and etcd-key/],
  ['--store etcd://n:1 --etcd-user u', /^--etcd-user\|u\|needs etcd-user and etcd-password-file/],
  ['--socket /a --admin-socket /a', /^--admin-socket\|\/a\|is the same as --socket/],
  ['--volume-dir /a --mount-dir /a/b', /^--mount-dir\|\/a\/b\|overlaps/],
  ['--volume-dir /a/b --mount-dir /a', /^--mount-dir\|\/a\|overlaps/],
  ['--statedir /x', /^--statedir\|\|is not known; did you mean --state-dir\?$/],
  ['--colour', /^--colour\|\|is not known; berth serve --help/],
  ['serve', /^serve\|\|is not known/],
  ['--ttl', /^--ttl\|\|needs a value: --ttl DURATION$/],
  ['--ttl --name b', /^--ttl\|\|needs a value/],
])('%s', (argv, problem) => {
  test('is refused, with the reason', () => {
    const problems = problemsOf(argv.split(' '));
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(problem);
  });
});

test('defect A14: a TTL of zero is refused, in a flag and in the environment', () => {
  expect(problemsOf(['--ttl', '0s'])).toEqual([expect.stringMatching(/^--ttl\|0s\|/)]);
  expect(problemsOf([], { ...host, BERTH_TTL: '0s' })).toEqual([
    expect.stringMatching(/^BERTH_TTL\|0s\|/),
  ]);
});

test('an invalid or unknown environment variable is refused under its own name', () => {
  const problems = problemsOf([], { ...host, BERTH_TTL: '1s', BERTH_LOCKTIMEOUT: '1s' });
  expect(problems).toEqual([
    'BERTH_LOCKTIMEOUT||is not known; did you mean BERTH_LOCK_TIMEOUT?',
    expect.stringMatching(/^BERTH_TTL\|1s\|/),
  ]);
});

test('all invalid settings are reported at once', () => {
  const settings = problemsOf(['--ttl', '1s', '--host', 'a b', '--drive', 'x', '--prefix', 'p']);
  expect(settings.map((problem) => problem.split('|')[0]).sort()).toEqual([
    '--drive',
    '--host',
    '--prefix',
    '--ttl',
  ]);
});

test('a default that derives from an invalid setting is not reported as a second problem', () => {
  expect(problemsOf(['--state-dir', 'relative'])).toHaveLength(1);
});

test('the configuration is frozen', () => {
  const config = loadConfig(['--store', 'etcd://n1:1'], host);
  expect(Object.isFrozen(config)).toBe(true);
  expect(Object.isFrozen(config.store)).toBe(true);
  expect(config.store.kind === 'etcd' && Object.isFrozen(config.store.endpoints)).toBe(true);
});

test('the help has a line for each setting, with its default', () => {
  const lines = settingsHelp().trimEnd().split('\n');
  expect(lines).toHaveLength(allSettings.length);
  for (const [index, setting] of allSettings.entries()) {
    expect(lines[index]).toContain(`${flagOf(setting)} `);
    if (setting.default !== undefined) expect(lines[index]).toContain(`(${setting.default})`);
  }
});

/** Settings that the managed plugin fixes, so that its config.json need not offer them. */
const fixedInManagedPlugin = new Set([
  'BERTH_NAME',
  'BERTH_SOCKET',
  'BERTH_ADMIN_SOCKET',
  'BERTH_STATE_DIR',
  'BERTH_VOLUME_DIR',
  'BERTH_MOUNT_DIR',
  'BERTH_DOCKER_SOCKET',
]);

const configJson = new URL('../../../../config.json', import.meta.url);

test("the managed plugin's config.json offers every other setting", () => {
  const { env } = z
    .object({ env: z.array(z.object({ name: z.string() })) })
    .parse(JSON.parse(readFileSync(configJson, 'utf8')));
  const offered = env.map(({ name }) => name).filter((name) => name !== 'DEBUG');
  const known = allSettings.map(variableOf);
  expect(offered.filter((name) => !known.includes(name))).toEqual([]);
  const missing = known.filter((name) => !offered.includes(name));
  expect(missing.filter((name) => !fixedInManagedPlugin.has(name))).toEqual([]);
});
