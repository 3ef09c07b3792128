import createDebug from 'debug';
import { takeInheritedSockets } from '../lib/linux/inherited-sockets.ts';
import { messageOf } from '../lib/running/message-of.ts';
import type { Config } from './config/config.ts';
import { loadConfig } from './config/config.ts';
import { ConfigError } from './config/config-error.ts';
import { settingsHelp } from './config/settings.ts';
import type { Daemon } from './daemon.ts';
import { startDaemon } from './daemon.ts';

const log = createDebug('berth:main');

const usage = `The berth daemon: a Docker volume plugin.
Each setting is a flag and an environment variable (--state-dir, BERTH_STATE_DIR); a flag wins.

`;

/** Runs the daemon until a signal ends it; resolves to the exit code. */
export async function main(argv: readonly string[]): Promise<number> {
  if (argv.includes('--help')) {
    process.stdout.write(`${usage}${settingsHelp()}`);
    return 0;
  }
  // SQLite makes its files as the mask allows, and whoever can read them can lock them.
  process.umask(0o077);
  // A signal during the start takes effect when the start is complete.
  const signal = new Promise<NodeJS.Signals>((resolve) => {
    process.once('SIGTERM', resolve);
    process.once('SIGINT', resolve);
  });
  let daemon: Daemon;
  let config: Config;
  try {
    config = loadConfig(argv, process.env);
    const { socket, adminSocket } = config;
    const paths = { docker: socket, admin: adminSocket };
    daemon = await startDaemon(config, await takeInheritedSockets(paths, process.env));
  } catch (error) {
    process.stderr.write(`berth: ${messageOf(error)}\n`);
    log('%O', error);
    return error instanceof ConfigError ? 2 : 1;
  }
  await announce(config, daemon);
  try {
    const name = await Promise.race([signal, daemon.failed]);
    log('%s: stopping', name);
    await daemon.stop();
    return 0;
  } catch (error) {
    process.stderr.write(`berth: ${messageOf(error)}\n`);
    await daemon.stop();
    return 1;
  }
}

/** Says what is served, and whether the store is reachable: without it, no volume can be mounted. */
async function announce({ name, socket, store, host }: Config, daemon: Daemon): Promise<void> {
  const trouble = await daemon.storeTrouble();
  const reachable = trouble === undefined ? '' : ', NOT reachable yet';
  process.stdout.write(
    `berth serves "${name}" on ${socket} (store: ${store.kind}${reachable}, host: ${host})\n`,
  );
  if (trouble === undefined) return;
  process.stderr.write(
    `berth: the store can't be reached, so no volume can be created or mounted: ${trouble}; berth goes on trying\n`,
  );
  void daemon.reached.then(() => process.stdout.write('berth: the store is reachable now\n'));
}

if (import.meta.main) process.exitCode = await main(process.argv.slice(2));
