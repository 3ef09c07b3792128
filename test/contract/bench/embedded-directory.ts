import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { memoryDirectory } from '../../support/temporary-directory.ts';

/** The place of one test's lock file; `path` is in a directory that does not exist yet. */
export interface EmbeddedDirectory {
  readonly root: string;
  readonly path: string;
  [Symbol.asyncDispose](): Promise<void>;
}

export async function embeddedDirectory(): Promise<EmbeddedDirectory> {
  const root = await mkdtemp(join(memoryDirectory(), 'berth-locks-'));
  return {
    root,
    path: join(root, 'state', 'locks.db'),
    [Symbol.asyncDispose]: () => rm(root, { recursive: true }),
  };
}
