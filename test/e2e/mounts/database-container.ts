import { dirname } from 'node:path';
import type { PluggedHost } from '../../support/plugged-host.ts';
import { waitFor } from '../../support/processes.ts';
import { postgresTools } from '../../support/tools.ts';

/** Returns the directory of PostgreSQL's programs, which a container has at the same place. */
export const databasePrograms = (): string => dirname(postgresTools().postgres);

/** The user and the group of PostgreSQL, which does not run as root: `nobody` of Debian and of its containers. */
export const databaseUser = 65534;

/** A directory that every container has, and in which everybody may write. */
const sockets = '/dev/shm';

/** Lists what a container needs of the machine to run its PostgreSQL. */
export const databaseMachine: readonly string[] = [
  ...['/usr', '/lib', '/lib64', '/bin'],
  ...['/etc/passwd', '/etc/group'],
].map((path) => `${path}:${path}:ro`);

/** The environment of a PostgreSQL in a container. */
export const databaseEnvironment = (): Readonly<Record<string, string>> => ({
  PATH: `${databasePrograms()}:/usr/bin:/bin`,
  PGHOST: sockets,
  PGUSER: 'nobody',
});

/** Returns a script that serves the database in /d/data, which it makes first if there is none. */
export function serveDatabase(): string {
  const settings = `-c listen_addresses= -c unix_socket_directories=${sockets} -c shared_buffers=32MB`;
  const make = '[ -s /d/data/PG_VERSION ] || initdb -D /d/data -A trust > /dev/null';
  return `{ ${make}; } && exec postgres -D /d/data ${settings}`;
}

/** Returns the arguments of `docker run` for a PostgreSQL with a volume at /d. */
export function databaseArguments(image = 'busybox', ...flags: string[]): string[] {
  const environment = Object.entries(databaseEnvironment());
  return [
    ...['--user', `${databaseUser}:${databaseUser}`],
    ...environment.flatMap(([name, value]) => ['-e', `${name}=${value}`]),
    ...databaseMachine.flatMap((mount) => ['-v', mount]),
    ...[...flags, image, 'sh', '-c', serveDatabase()],
  ];
}

/** A PostgreSQL in a container. */
export interface Database {
  /** Runs a program in its container; returns the output. */
  run(...command: string[]): Promise<string>;
  /** Starts a script in its container. */
  start(script: string): Promise<void>;
  end(): Promise<void>;
}

/** Starts PostgreSQL on a volume, in a container, and waits until it answers. */
export async function startDatabase(
  { docker, host }: PluggedHost,
  volume: string,
): Promise<Database> {
  const name = `pg-${volume}`;
  await docker(
    ...['run', '-d', '--name', name],
    ...databaseArguments('busybox', '-v', `${volume}:/d`),
  );
  await waitFor(
    async () => (await host.docker('exec', name, 'pg_isready')).code === 0,
    60_000,
    `${name} to answer`,
  );
  return {
    run: (...command) => docker('exec', name, ...command),
    start: async (script) => {
      await docker('exec', '-d', name, 'sh', '-c', script);
    },
    end: async () => {
      await docker('rm', '-f', name);
    },
  };
}
