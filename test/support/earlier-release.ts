import { execFileSync } from 'node:child_process';
import { cp, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { repository } from './berth.ts';
import { runOk } from './processes.ts';
import type { TemporaryDirectory } from './temporary-directory.ts';
import { makeTemporaryDirectory } from './temporary-directory.ts';

/** Commits whose programs tests run beside those of this tree, as git names them. */
export const earlierReleases = {
  /**
   * The release before this tree: it can be replaced in place, shares a cluster, and is gone back to.
   * It is found by its subject, because a clone need not have its tag.
   */
  before: 'HEAD^{/^berth 0\\.1\\.0: }',
  /** The last commit whose sentinel speaks protocol 1. */
  protocol1: 'abb74a0',
  /** The first sentinel; it refuses today's watch, and lies in another folder. */
  firstSentinel: '2c68bfd',
} as const;

/** Says why the earlier releases can't be run here; undefined if they can. */
export function missingHistory(): string | undefined {
  for (const commit of Object.values(earlierReleases)) {
    try {
      execFileSync('git', ['-C', repository, 'cat-file', '-e', `${commit}^{commit}`], {
        stdio: 'ignore',
      });
    } catch {
      return `needs the history with commit ${commit} (git fetch --unshallow)`;
    }
  }
  return undefined;
}

/** Puts the files of an earlier release into a directory, where they can be run. */
export async function checkOut(release: keyof typeof earlierReleases): Promise<TemporaryDirectory> {
  const directory = await makeTemporaryDirectory();
  const script = `git -C "$1" archive "$2" | tar -x -C "$3"`;
  await runOk('bash', [
    ...['-o', 'pipefail', '-c', script, 'check-out'],
    ...[repository, earlierReleases[release], directory.path],
  ]);
  await symlink(join(repository, 'node_modules'), join(directory.path, 'node_modules'));
  return directory;
}

/** Copies the programs of this tree to a directory, where a test can replace their files. */
export async function copyOfThisTree(): Promise<TemporaryDirectory> {
  const directory = await makeTemporaryDirectory();
  for (const name of ['bin', 'cli', 'lib', 'plugin', 'sentinel', 'package.json']) {
    await cp(join(repository, name), join(directory.path, name), { recursive: true });
  }
  await symlink(join(repository, 'node_modules'), join(directory.path, 'node_modules'));
  return directory;
}
