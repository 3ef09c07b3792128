import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runProcess, startProcess, waitFor } from './processes.ts';

const program = join(import.meta.dirname, 'racer-program.ts');
const secret = 'a-secret-of-the-host';

/** The place of the program, its Node and its libraries. A container that runs it needs this directory. */
export const racerHome = join(import.meta.dirname, '../..');

/** A directory of the host with a secret, to which links in a volume lead. */
export interface Outside {
  readonly path: string;
  /** Lists the files below a directory in which the secret is. */
  stolen(directory: string): Promise<string[]>;
  /** Rejects unless everything in the directory is as it was. */
  requireUntouched(): Promise<void>;
}

/** Makes the directory, for root only. */
export async function makeOutside(path: string): Promise<Outside> {
  const file = join(path, 'file');
  await mkdir(path, { mode: 0o700 });
  await writeFile(file, secret);
  return {
    path,
    async stolen(copy) {
      const { stdout } = await runProcess('grep', ['-rl', '--devices=skip', secret, copy]);
      return stdout.split('\n').filter((line) => line !== '');
    },
    async requireUntouched() {
      const [names, text] = [await readdir(path), await readFile(file, 'utf8')];
      if (names.join() !== 'file' || text !== secret) throw new Error(`${path} was changed`);
    },
  };
}

/** Returns the command that exchanges what is in a directory with links to the other one, until it is killed. */
export function racerCommand(directory: string, { path }: Outside): string[] {
  return [process.execPath, program, directory, path];
}

/** Says that the command has begun. */
export const racing = 'racing';

/** Starts it as a process of the machine, in a directory that must exist. */
export async function startRacer(directory: string, outside: Outside): Promise<AsyncDisposable> {
  const [node = '', ...args] = racerCommand(directory, outside);
  const racer = startProcess(node, args);
  await waitFor(async () => racer.output().includes(racing), 10_000, 'the racer');
  return racer;
}
