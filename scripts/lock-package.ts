/**
 * Builds the package `@berth/lock` from lib/lock and what it imports, for npm to pack:
 *
 *     node scripts/lock-package.ts [DIRECTORY]     default: lib/lock itself
 *
 *     lib/{lock,etcd,linux,running} ── tsc ──► JavaScript (CommonJS) and types in dist/
 *                                              a module for `import` for each entry: the same, by name
 *     the types in dist/ ── lock-api-pages.ts ──► api/
 *     lib/lock/package.json, README.md, LICENSE ──► DIRECTORY
 *
 * The code is there once, so that an error of the library is of one class for `import` and `require`.
 * tsc compiles it, because the compiler is there and keeps the types; a bundle would have to share
 * its classes between the entries, too. The library `debug` is loaded if it is installed.
 */
import { execFile } from 'node:child_process';
import { globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cp } from 'node:fs/promises';
import { dirname, join, relative, resolve } from 'node:path';
import { promisify } from 'node:util';
import { apiPages } from './lock-api-pages.ts';

const root = dirname(import.meta.dirname);
const source = join(root, 'lib/lock');
const target = resolve(process.argv[2] ?? source);
const dist = join(target, 'dist');

/** Loads the library `debug`, or logs nothing. */
const optionalDebug = `'use strict';
// The library debug, if it is installed: DEBUG=berth:* then shows what the locks do.
try {
  module.exports = require('debug');
} catch (error) {
  if (error.code !== 'MODULE_NOT_FOUND') throw error;
  module.exports = () => () => {};
}
`;

await build();

async function build(): Promise<void> {
  for (const name of ['dist', 'api']) rmSync(join(target, name), { recursive: true, force: true });
  const project = join(root, 'tsconfig.lock.json');
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  await run(process.execPath, [tsc, '--project', project, '--outDir', dist]);
  // Its folder is one of ES modules.
  writeFileSync(join(dist, 'package.json'), '{ "type": "commonjs" }\n');
  nameFilesOfTypes();
  makeDebugOptional();
  for (const entry of entries()) await writeFacade(entry);
  writePages();
  await copyFiles();
}

async function run(program: string, args: readonly string[]): Promise<void> {
  await promisify(execFile)(program, args).catch((error: { stdout: string; stderr: string }) => {
    throw new Error(`${program} ${args.join(' ')} failed:\n${error.stdout}${error.stderr}`);
  });
}

/** Names modules in types as in the code: tsc leaves the ending .ts there, which older compilers refuse. */
function nameFilesOfTypes(): void {
  for (const name of globSync('**/*.d.ts', { cwd: dist })) {
    const file = join(dist, name);
    const text = readFileSync(file, 'utf8');
    writeFileSync(file, text.replace(/((?:from |import\()['"]\.[^'"]*)\.ts(['"])/g, '$1.js$2'));
  }
}

function makeDebugOptional(): void {
  const path = join(dist, 'running/optional-debug.js');
  writeFileSync(path, optionalDebug);
  for (const name of globSync('**/*.js', { cwd: dist })) {
    const file = join(dist, name);
    const code = readFileSync(file, 'utf8');
    if (file === path || !code.includes('require("debug")')) continue;
    const own = `./${relative(dirname(file), path)}`;
    writeFileSync(file, code.replaceAll('require("debug")', `require(${JSON.stringify(own)})`));
  }
}

/** Returns the modules that package.json exports, as paths without an ending below `dist`. */
function entries(): string[] {
  return ['lock/index', 'etcd/client', ...stores()];
}

function stores(): string[] {
  return globSync('lock/stores/*/store.js', { cwd: dist }).map((name) =>
    name.slice(0, -'.js'.length),
  );
}

/** Writes the ES module of an entry: an `import` sees the names of the CommonJS module, and its objects. */
async function writeFacade(entry: string): Promise<void> {
  const own = `./${entry.slice(entry.lastIndexOf('/') + 1)}.js`;
  const names = Object.keys(await import(join(root, `lib/${entry}.ts`)));
  const code = `import all from '${own}';\n\nexport const { ${names.join(', ')} } = all;\n`;
  writeFileSync(join(dist, `${entry}.mjs`), code);
  writeFileSync(join(dist, `${entry}.d.mts`), `export * from '${own}';\n`);
}

function writePages(): void {
  mkdirSync(join(target, 'api'));
  const named = entries().map((entry) => ({ module: moduleOf(entry), path: join(dist, entry) }));
  for (const [name, text] of apiPages(named)) writeFileSync(join(target, 'api', name), text);
}

/** Returns the name by which package.json exports an entry. */
function moduleOf(entry: string): string {
  if (entry === 'lock/index') return '@berth/lock';
  const store = /^lock\/(stores\/\w+)\/store$/.exec(entry)?.[1];
  return `@berth/lock/${store ?? 'etcd'}`;
}

/** Copies the files that npm packs beside the code. */
async function copyFiles(): Promise<void> {
  await cp(join(root, 'LICENSE'), join(target, 'LICENSE'));
  if (target === source) return;
  for (const name of ['package.json', 'README.md'])
    await cp(join(source, name), join(target, name));
}
