// Takes every free byte of a file system.
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { runProcess } from './processes.ts';

/** Takes every block: first in large pieces, then in single ones. Returns the directory of the files. */
export async function fillUp(path: string): Promise<string> {
  const ballast = join(path, 'ballast');
  await mkdir(ballast, { recursive: true });
  for (const block of ['1M', '4k', '512'])
    await runProcess('dd', ['if=/dev/zero', `of=${join(ballast, block)}`, `bs=${block}`]);
  await runProcess('sync', ['--file-system', path]);
  for (let index = 0; index < 10_000; index++) {
    const { code } = await runProcess('cp', ['/etc/hostname', join(ballast, `small-${index}`)]);
    if (code !== 0) break;
  }
  return ballast;
}
