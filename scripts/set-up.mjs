// Makes `npm start` and `npm test` work on a fresh clone. It runs before the dependencies exist, so
// it is plain JavaScript without any, for the machine's own Node (20 or newer). With --tests it
// also fetches the tests' servers.
import { existsSync, mkdirSync, statSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cacheDirectory, hasSuite, requiredSuites, suites, unpackSuite } from './debian-suite.mjs';
import { fetchEarlierNode, hasEarlierNode } from './earlier-node.mjs';
import { execute, say } from './execute.mjs';
import { installTools, missingTools } from './system-tools.mjs';
import { findUmlKernel, hasUmlKernel } from './uml-kernel.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const forTests = process.argv.includes('--tests');
const isLockHolder = process.argv.includes('--lock-held');

try {
  await setUp();
} catch (error) {
  say(error.message);
  process.exitCode = 1;
}

async function setUp() {
  const started = performance.now();
  if (isComplete()) {
    await requireNode24();
    return;
  }
  if (!isLockHolder) {
    await setUpAlone();
    return;
  }
  if (!areDependenciesInstalled()) {
    await installDependencies();
  }
  await requireNode24();
  if (forTests) {
    await fetchTestTools();
  }
  say(`took ${((performance.now() - started) / 1000).toFixed(1)} s`);
}

function isComplete() {
  const isReadyForTests = () =>
    missingTools().length === 0 &&
    requiredSuites.every(hasSuite) &&
    hasUmlKernel() &&
    hasEarlierNode();
  return areDependenciesInstalled() && (!forTests || isReadyForTests());
}

// Two runs at once (two clones, two terminals) would unpack over each other: the second waits, and
// finds all done.
async function setUpAlone() {
  mkdirSync(cacheDirectory, { recursive: true });
  const again = [process.execPath, ...process.argv.slice(1), '--lock-held'];
  const result = await execute('flock', [join(cacheDirectory, 'lock'), ...again], {
    stdio: 'inherit',
  });
  if (result.code !== 0) {
    if (result.output) say(result.output);
    process.exitCode = 1;
  }
}

// npm writes node_modules/.package-lock.json last, so an interrupted installation counts as
// missing.
function areDependenciesInstalled() {
  const changed = (name) =>
    statSync(join(root, name), { throwIfNoEntry: false })?.mtimeMs ?? Number.NEGATIVE_INFINITY;
  return changed('node_modules/.package-lock.json') >= changed('package-lock.json');
}

async function installDependencies() {
  say('installing the dependencies (npm ci)');
  // npm puts node_modules/.bin first in PATH, but `npm ci` deletes that directory, so npm must not
  // run on the Node there.
  const searchPath = process.env.PATH.split(delimiter)
    .filter((directory) => !directory.startsWith(root))
    .join(delimiter);
  const result = await execute('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: root,
    env: { ...process.env, PATH: searchPath },
  });
  if (result.code !== 0) {
    throw new Error(`npm ci failed:\n${result.output}`);
  }
}

async function requireNode24() {
  // npm scripts find this Node before any in PATH.
  const own = join(root, 'node_modules/.bin/node');
  const path = existsSync(own) ? own : process.execPath;
  const { code, output } = await execute(path, ['--version']);
  const major = Number(/^v(\d+)\./.exec(output)?.[1]);
  if (code === 0 && major >= 24) return;
  throw new Error(
    `berth needs Node 24 or newer, but ${path} ${code === 0 ? `is ${output.trim()}` : 'does not run'}. ` +
      'The dependencies bring one through an install script: run "npm ci --ignore-scripts=false". ' +
      'Or install Node 24, put it first in PATH and remove node_modules/.bin/node.',
  );
}

/**
 * Reports tools that can't be installed, without an error: the tests then skip, or fail with
 * CI=true.
 */
async function fetchTestTools() {
  await report('file system and network tools', installTools);
  for (const suite of requiredSuites) {
    if (!hasSuite(suite)) {
      await report(`${suites[suite].holds} (Debian ${suite})`, () => unpackSuite(suite));
    }
  }
  if (!hasEarlierNode()) {
    await report('the oldest Node of the lock library', () => fetchEarlierNode(root));
  }
  if (!hasUmlKernel()) {
    await report('User Mode Linux', findUmlKernel);
  }
}

async function report(what, fetch) {
  try {
    await fetch();
  } catch (error) {
    say(`missing: ${what}; the tests that need it are skipped. ${error.message}`);
  }
}
