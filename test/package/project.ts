import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { delimiter, dirname, join } from 'node:path';
import { repository } from '../support/berth.ts';
import type { FinishedProcess } from '../support/processes.ts';
import { runOk, runProcess } from '../support/processes.ts';

const tsc = join(repository, 'node_modules/typescript/bin/tsc');

/** An empty project somewhere else, in which the library is installed. */
export class Project {
  readonly directory: string;

  constructor(directory: string) {
    this.directory = directory;
  }

  /** Installs packages by npm: names with versions, or the paths of archives. */
  async install(...packages: readonly string[]): Promise<void> {
    await this.write('package.json', '{ "private": true }');
    const flags = ['--prefer-offline', '--no-audit', '--no-fund', '--loglevel=error'];
    await runOk('npm', ['install', ...flags, ...packages], {
      cwd: this.directory,
      env: { ...process.env, PATH: pathWithoutOurs() },
    });
  }

  /** Lists the installed packages, those of packages included. */
  async packages(): Promise<string[]> {
    const list = join(this.directory, 'node_modules/.package-lock.json');
    return Object.keys(JSON.parse(await readFile(list, 'utf8')).packages).sort();
  }

  async write(name: string, text: string): Promise<void> {
    await mkdir(dirname(join(this.directory, name)), { recursive: true });
    await writeFile(join(this.directory, name), text);
  }

  /** Runs a program of the project. It has to end by itself. */
  run(node: string, name: string, env: NodeJS.ProcessEnv = {}): Promise<FinishedProcess> {
    const args = ['--disable-warning=ExperimentalWarning', name];
    return runProcess(node, args, { cwd: this.directory, env: { ...process.env, ...env } });
  }

  /** Checks and compiles TypeScript as a project does that has asked for every strictness. */
  async compile(
    names: readonly string[],
    options: Readonly<Record<string, unknown>>,
  ): Promise<void> {
    const compilerOptions = {
      ...{ strict: true, exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true },
      ...{ module: 'nodenext', target: 'es2023', lib: ['es2023', 'esnext.disposable'] },
      ...{ types: ['node'], typeRoots: [join(repository, 'node_modules/@types')] },
      ...options,
    };
    await this.write('tsconfig.json', JSON.stringify({ compilerOptions, files: names }));
    await runOk(process.execPath, [tsc, '--project', this.directory]);
  }

  names(): Promise<string[]> {
    return readdir(this.directory);
  }
}

/** Builds the package and packs it as npm does for its registry; returns the path of the archive. */
export async function packLibrary(directory: string): Promise<string> {
  await runOk(process.execPath, [join(repository, 'scripts/lock-package.ts'), directory]);
  const name = await runOk('npm', ['pack', '--ignore-scripts', '--loglevel=error'], {
    cwd: directory,
    env: { ...process.env, PATH: pathWithoutOurs() },
  });
  return join(directory, name);
}

/** Returns a search path for npm without the programs of this repository. */
function pathWithoutOurs(): string {
  const { PATH = '' } = process.env;
  return PATH.split(delimiter)
    .filter((path) => !path.startsWith(repository))
    .join(delimiter);
}
