// Fetches the oldest Node on which the lock library runs, for its tests: the package `node` of npm, as
// the dependencies bring Node 24.
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { cacheDirectory } from './debian-suite.mjs';
import { mustExecute, say } from './execute.mjs';

const version = '22.23.3';
const directory = join(cacheDirectory, 'node-22');
/** test/support/tools.ts uses the same path. */
const program = join(directory, 'node_modules/node/bin/node');
/** Written last: an interrupted installation counts as missing. */
const stamp = join(directory, 'stamp');

export function hasEarlierNode() {
  return existsSync(stamp) && readFileSync(stamp, 'utf8') === version;
}

/** `root`: the repository, whose own Node must not run npm: it may be replaced meanwhile. */
export async function fetchEarlierNode(root) {
  say(`fetching Node ${version} from npm`);
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
  const searchPath = process.env.PATH.split(delimiter).filter((path) => !path.startsWith(root));
  const flags = ['--ignore-scripts=false', '--no-audit', '--no-fund', '--loglevel=error'];
  await mustExecute('npm', ['install', '--prefix', directory, `node@${version}`, ...flags], {
    cwd: directory,
    env: { ...process.env, PATH: searchPath.join(delimiter) },
  });
  const found = (await mustExecute(program, ['--version'])).trim();
  if (found !== `v${version}`) throw new Error(`${program} is ${found}, not v${version}`);
  writeFileSync(stamp, version);
}
