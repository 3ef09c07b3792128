// A second PostgreSQL on the volume of a running one, by every way in which clients of one host start containers:
// real engines, a real Compose and Podman, a real PostgreSQL. TEST_ENGINES=all runs it on every engine.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, jest, test } from '@jest/globals';
import type { PluggedHost } from '../../support/plugged-host.ts';
import { describePlugged, embeddedVariants, nothing } from '../../support/plugged-host.ts';
import { preparePodman } from '../../support/podman.ts';
import type { FinishedProcess } from '../../support/processes.ts';
import { runProcess, waitFor } from '../../support/processes.ts';
import { composeProgram } from '../../support/tools.ts';
import {
  databaseArguments,
  databaseEnvironment,
  databaseMachine,
  databaseUser,
  serveDatabase,
} from './database-container.ts';

const variants = embeddedVariants.slice(process.env.TEST_ENGINES === 'all' ? 0 : -1);
const rows = 2_000;
const volume = 'shop_data';
/** The container of Compose's service. */
const first = 'shop-db-1';

jest.setTimeout(600_000);

/** A service as a person writes it, and a second one on the same volume by mistake. */
function composeFile(): string {
  const service = {
    image: 'database',
    network_mode: 'none',
    user: `${databaseUser}:${databaseUser}`,
    environment: databaseEnvironment(),
    volumes: [...databaseMachine, 'data:/d'],
    command: ['sh', '-c', serveDatabase().replaceAll('$', '$$$$')],
    stop_signal: 'SIGINT',
  };
  const options = { driver: 'image', size: '200M' };
  const other = { ...service, profiles: ['mistake'] };
  return JSON.stringify({
    services: { db: service, other },
    volumes: { data: { driver: 'berth', driver_opts: options } },
  });
}

/** Makes an image with content at the place of the volume, as those of databases have. */
async function makeImage({ docker }: PluggedHost): Promise<void> {
  const make = `mkdir /d; echo image > /d/made; chown -R ${databaseUser}:${databaseUser} /d`;
  await docker('run', '--name', 'seed', 'busybox', 'sh', '-c', make);
  await docker('commit', 'seed', 'database');
  await docker('rm', 'seed');
}

describePlugged(
  'a second PostgreSQL on one volume',
  { variants, requirements: ['postgres', 'loop', 'compose', 'podman'] },
  (on) => {
    test('clients F1, F4, F5: is refused in every way, and the first keeps its rows; Compose replaces the service', async () => {
      const { docker, host, berth, left } = on();
      await makeImage(on());
      const shop = await openShop(on());
      for (const [way, start] of waysOf(on(), shop)) {
        const refused = await start();
        expect([way, refused.code]).not.toEqual([way, 0]);
        expect([way, refused.stderr]).toEqual([way, expect.stringMatching(await shop.refusal())]);
        await shop.expectIntact();
      }
      await using podman = await preparePodman(host);
      expect(await podman.podman('volume', 'reload')).toMatchObject({ code: 0 });
      const inPodman = await podman.start('p1', volume);
      expect(inPodman.code).not.toBe(0);
      expect(inPodman.stderr).toMatch(
        /can't be kept with Podman.*volume set shop_data access=host/,
      );
      await shop.expectIntact();

      await expectOneAfterRestart(on());
      await docker('rm', '-f', 'run', 'from', 'shop-db-2', 'shop-other-1');
      await docker('start', first);
      await shop.answers();
      await shop.expectIntact();

      await expectReplaced(on(), shop);
      await shop.expectIntact();
      await berth.berthOk('doctor');
      const down = await shop.compose('--profile', 'mistake', 'down', '-v');
      expect(down).toMatchObject({ code: 0 });
      expect(await left()).toEqual(nothing);
    });
  },
);

/** A project of Compose whose service `db` is a PostgreSQL that serves. */
interface Shop {
  compose(...args: string[]): Promise<FinishedProcess>;
  answers(): Promise<void>;
  /** Writes rows, and looks at all that were written. */
  expectIntact(): Promise<void>;
  /** Returns what a refusal says about the service's container. */
  refusal(): Promise<RegExp>;
}

async function openShop({ docker, host, inspect }: PluggedHost): Promise<Shop> {
  const file = join(host.directory, 'compose.yaml');
  await writeFile(file, composeFile());
  const compose = async (...args: string[]) =>
    runProcess(composeProgram(), ['-f', file, '-p', 'shop', ...args], {
      env: { DOCKER_HOST: `unix://${host.dockerSocket}`, HOME: host.directory },
    });
  const inside = (...command: string[]) => docker('exec', first, ...command);
  const query = (sql: string) => inside('psql', '-Atc', sql, 'postgres');
  const isReady = async () => (await host.docker('exec', first, 'pg_isready')).code === 0;
  const answers = async () => {
    await waitFor(isReady, 60_000, 'PostgreSQL to answer');
  };
  expect(await compose('up', '-d')).toMatchObject({ code: 0 });
  await answers();
  await query('CREATE TABLE t (n int PRIMARY KEY)');
  let written = 0;
  return {
    compose,
    answers,
    expectIntact: async () => {
      await query(`INSERT INTO t SELECT generate_series(${written + 1}, ${written + rows})`);
      written += rows;
      await query('CHECKPOINT');
      expect(await query('SELECT count(*) FROM t')).toBe(`${written}`);
      await inside('pg_amcheck', '--install-missing', '--heapallindexed', 'postgres');
    },
    refusal: async () => {
      const id = (await inspect(first, '{{.Id}}')).slice(0, 12);
      return new RegExp(
        `volume ${volume} has access=container and is used by the container ${first} \\(${id}\\) on this host ` +
          `since 20.*berth volume set ${volume} access=host`,
      );
    },
  };
}

type Way = readonly [name: string, start: () => Promise<FinishedProcess>];

/** Lists the ways in which a person starts a second one beside the first. */
function waysOf({ host }: PluggedHost, { compose }: Shop): readonly Way[] {
  const run = (name: string, ...flags: string[]) =>
    host.docker('run', '-d', '--name', name, ...databaseArguments('database', ...flags));
  return [
    ['docker run', () => run('run', '-v', `${volume}:/d`)],
    ['--volumes-from', () => run('from', '--volumes-from', first)],
    ['compose up --scale', () => compose('up', '-d', '--scale', 'db=2')],
    ['a second service', () => compose('up', '-d', 'other')],
  ];
}

/** A restart gives the volume up for a moment: whoever has it then runs, and the other one is refused. */
async function expectOneAfterRestart({ docker, host }: PluggedHost): Promise<void> {
  const [restarted, started] = await Promise.all([
    host.docker('restart', '-t', '10', first),
    host.docker('start', 'run'),
  ]);
  const running = await docker('ps', '--filter', `volume=${volume}`, '--format', '{{.Names}}');
  expect([first, 'run']).toContain(running);
  const refused = running === 'run' ? restarted : started;
  expect(refused.stderr).toMatch(/is used by the container|is being started or created/);
  process.stderr.write(`at a restart, ${running} has the volume\n`);
}

/** With nothing configured: the service has the volume's defaults. */
async function expectReplaced(on: PluggedHost, { compose, answers }: Shop): Promise<void> {
  const before = await on.inspect(first, '{{.Id}}');
  const replacing = compose('up', '-d', '--force-recreate', 'db');
  const [replaced, endedAt] = await Promise.all([replacing, endOf(on, before)]);
  expect(replaced).toMatchObject({ code: 0 });
  await answers();
  const servesAt = Date.now();
  expect(await on.inspect(first, '{{.Id}}')).not.toBe(before);
  const startedAt = Date.parse(await on.inspect(first, '{{.State.StartedAt}}'));
  expect(startedAt).toBeGreaterThan(endedAt);
  const [start, answer] = [startedAt - endedAt, servesAt - endedAt].map(Math.round);
  process.stderr.write(
    `Compose replaces the service: started ${start} ms after the end of the old one, answers after ${answer} ms\n`,
  );
}

/** Waits until a container has ended; returns the time, by the engine's events. */
async function endOf({ docker }: PluggedHost, id: string): Promise<number> {
  const since = `${Math.floor(Date.now() / 1000)}`;
  let found = '';
  await waitFor(
    async () => {
      const times = ['--since', since, '--until', `${Math.ceil(Date.now() / 1000)}`];
      const filters = ['--filter', `container=${id}`, '--filter', 'event=die'];
      found = await docker('events', ...times, ...filters, '--format', '{{.TimeNano}}');
      return found !== '';
    },
    120_000,
    'the end of the old container',
  );
  return Number(found.split('\n')[0]) / 1e6;
}
