import { execFile } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from '@jest/globals';
import { makeTemporaryDirectory } from '../../support/temporary-directory.ts';

const root = join(import.meta.dirname, '../../..');

/** One file of each room; those with the same meaning to every other room stand for it. */
const samples = {
  linux: 'lib/linux/boot.ts',
  running: 'lib/running/clock.ts',
  etcd: 'lib/etcd/client.ts',
  lock: 'lib/lock/ticket.ts',
  manager: 'lib/lock/lock-manager.ts',
  lockEngine: 'lib/lock/engine/session.ts',
  use: 'lib/lock/use/lock-service.ts',
  recipes: 'lib/lock/recipes/jobs/job-lock.ts',
  open: 'lib/lock/open/open-locks.ts',
  lockServer: 'lib/lock/server/listen.ts',
  stores: 'lib/lock/stores/ticket-store.ts',
  embedded: 'lib/lock/stores/embedded/store.ts',
  etcdStore: 'lib/lock/stores/etcd/store.ts',
  fileStore: 'lib/lock/stores/file/store.ts',
  kubernetes: 'lib/lock/stores/kubernetes/store.ts',
  memory: 'lib/lock/stores/memory/store.ts',
  postgres: 'lib/lock/stores/postgres/store.ts',
  volumes: 'lib/volumes/volume.ts',
  doctor: 'lib/volumes/doctor/doctor.ts',
  operations: 'lib/volumes/operations/volumes.ts',
  mounts: 'lib/volumes/mounts/mounts.ts',
  records: 'lib/volumes/records/catalog.ts',
  pools: 'lib/volumes/pools/pools.ts',
  drivers: 'lib/volumes/drivers/driver.ts',
  directory: 'lib/volumes/drivers/directory/driver.ts',
  image: 'lib/volumes/drivers/image/driver.ts',
  shared: 'lib/volumes/drivers/shared/copy.ts',
  storageWorker: 'lib/volumes/worker/lanes.ts',
  sentinel: 'sentinel/sentinel.ts',
  sentinelProtocol: 'sentinel/watch.ts',
  daemon: 'plugin/daemon.ts',
  adminReplies: 'plugin/admin/api/status.ts',
  admin: 'plugin/admin/app.ts',
  config: 'plugin/config/config.ts',
  docker: 'plugin/docker/app.ts',
  engine: 'plugin/engine/engine.ts',
  events: 'plugin/events/event-log.ts',
  fencing: 'plugin/fencing/sentinel-watch.ts',
  host: 'plugin/host/membership.ts',
  http: 'plugin/http/json-body.ts',
  humanSize: 'plugin/http/human-size.ts',
  cli: 'cli/program.ts',
  test: 'test/support/eventually.ts',
  bench: 'bench/main.ts',
  demo: 'demo/main.ts',
  scripts: 'scripts/execute.mjs',
} as const;

type Sample = keyof typeof samples;

const everySample = Object.keys(samples) as Sample[];

const libraries = [
  ...['express', 'dockerode', 'etcd3', 'pg', 'cockatiel', 'node:sqlite', 'commander'],
  'koffi',
];

/** The rooms that may import one of the libraries; no other room may import any. */
const allowedLibraries: Readonly<Record<string, string>> = {
  'lib/linux': 'node:sqlite koffi',
  'lib/etcd': 'etcd3 cockatiel',
  'lib/lock/stores/embedded': 'node:sqlite',
  'plugin/admin': 'express',
  'plugin/docker': 'express',
  'plugin/engine': 'dockerode',
  'plugin/host': 'node:sqlite',
  'plugin/http': 'express',
  cli: 'commander',
};

/** The samples that each room may import: the arrows of ARCHITECTURE.md, room by room. */
const allowed: Readonly<Record<string, string>> = {
  'lib/linux': 'linux',
  'lib/running': 'linux running',
  'lib/etcd': 'running etcd',
  'lib/lock': 'running lock manager lockEngine use recipes open stores',
  'lib/lock/engine': 'running lock lockEngine stores',
  'lib/lock/use': 'running lock manager use stores',
  'lib/lock/recipes/jobs': 'running lock manager lockEngine recipes stores',
  // It opens each kind of store.
  'lib/lock/open':
    'running etcd lock manager recipes open stores embedded etcdStore fileStore kubernetes memory postgres',
  'lib/lock/server': 'running lock manager lockServer',
  'lib/lock/stores': 'running lock stores',
  'lib/lock/stores/embedded': 'linux running lock stores embedded',
  'lib/lock/stores/etcd': 'running etcd lock stores etcdStore',
  'lib/lock/stores/file': 'linux running lock stores fileStore',
  'lib/lock/stores/kubernetes': 'running lock stores kubernetes',
  // It also makes the locks that live within one process, hence the manager.
  'lib/lock/stores/memory': 'running lock manager stores memory',
  'lib/lock/stores/postgres': 'running lock stores postgres',
  'lib/volumes': 'running lock stores volumes drivers',
  'lib/volumes/doctor':
    'linux running lock lockEngine use stores volumes doctor operations ' +
    'mounts records pools drivers shared',
  'lib/volumes/operations':
    'linux running lock lockEngine use stores volumes operations mounts ' + 'records pools drivers',
  'lib/volumes/mounts': 'linux running lock lockEngine use stores volumes mounts records drivers',
  'lib/volumes/pools': 'linux running lock lockEngine use stores volumes records pools drivers',
  'lib/volumes/records': 'linux running lock lockEngine use stores volumes records',
  // The registry names every driver.
  'lib/volumes/drivers': 'linux running volumes drivers directory image shared',
  'lib/volumes/drivers/directory': 'linux running volumes drivers directory shared',
  'lib/volumes/drivers/image': 'linux running volumes drivers image shared',
  'lib/volumes/drivers/shared': 'linux running volumes drivers shared',
  'lib/volumes/worker': 'linux running volumes drivers shared storageWorker',
  sentinel: 'linux running sentinel sentinelProtocol',
  plugin:
    'linux running lock manager lockEngine use recipes open stores embedded ' +
    'etcdStore fileStore kubernetes memory postgres volumes doctor operations mounts ' +
    'records pools drivers directory image shared storageWorker daemon adminReplies admin config ' +
    'docker engine events fencing host http humanSize',
  'plugin/admin':
    'running lock use volumes doctor operations adminReplies admin events ' + 'http humanSize',
  'plugin/config': 'config',
  'plugin/docker': 'running lock use volumes docker http humanSize',
  'plugin/engine': 'linux running volumes mounts engine',
  'plugin/events': 'linux running volumes events',
  'plugin/fencing': 'linux running lock use volumes mounts drivers sentinelProtocol fencing',
  'plugin/host':
    'linux running etcd lock manager use stores embedded etcdStore volumes ' +
    'mounts records config host',
  'plugin/http': 'running volumes http humanSize',
  cli: 'lock open lockServer daemon adminReplies config humanSize cli',
};

test('the linter lets a room import what the table allows, and nothing else', async () => {
  await using directory = await makeTemporaryDirectory();
  const config = JSON.parse(await readFile(join(root, 'biome.json'), 'utf8'));
  await writeFile(join(directory.path, 'biome.json'), JSON.stringify({ ...config, vcs: {} }));
  for (const room of Object.keys(allowed)) {
    const path = join(directory.path, room, 'planted.ts');
    await mkdir(dirname(path), { recursive: true });
    const imports = everySample.map((name) => importOf(room, samples[name]));
    const libraryImports = libraries.map((name) => `import '${name}';\n`);
    await writeFile(path, [...imports, ...libraryImports].join(''));
  }
  const denied = await deniedLines(directory.path);
  for (const [room, may] of Object.entries(allowed)) {
    const names = [...everySample, ...libraries];
    const found = names.filter((_, index) => !denied.get(room)?.has(index + 1));
    const expected = `${may} ${allowedLibraries[room] ?? ''}`.trim().split(' ');
    expect({ room, found }).toEqual({ room, found: expected });
  }
});

function importOf(room: string, path: string): string {
  const target = relative(room, path);
  return `import '${target.startsWith('.') ? target : `./${target}`}';\n`;
}

/** The lines that the linter refuses, by room. */
async function deniedLines(directory: string): Promise<Map<string, Set<number>>> {
  const args = ['lint', '--only=style/noRestrictedImports', '--reporter=github'];
  const biome = join(root, 'node_modules/.bin/biome');
  const output = await promisify(execFile)(biome, [...args, '--max-diagnostics=none', directory], {
    cwd: directory,
    maxBuffer: 1 << 26,
  }).catch((error: { stdout: string }) => error);
  const denied = new Map<string, Set<number>>();
  const place = /file=(?<path>[^,]+)\/planted\.ts,line=(?<line>\d+)/g;
  for (const { groups } of output.stdout.matchAll(place)) {
    const room = relative(directory, join('/', groups?.path ?? ''));
    denied.set(room, (denied.get(room) ?? new Set()).add(Number(groups?.line)));
  }
  return denied;
}
