import { readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { waitFor } from '../../support/processes.ts';
import type { BareHost } from './bare-host.ts';

/**
 * Blocks a program that the daemon runs, before or after its work, until it is released or killed.
 */
export async function blockProgram(
  host: BareHost,
  program: string,
  moment: 'before' | 'after' = 'before',
) {
  const began = join(host.directory, 'began');
  const go = join(host.directory, 'go');
  await host.execOk('rm', '-f', began, go);
  const work = `PATH=/usr/sbin:/usr/bin ${program} "$@" || exit`;
  const block = `echo >> ${began}; while [ ! -e ${go} ]; do sleep 0.02; done; . ${go}`;
  await host.shadow(program, moment === 'before' ? `${block}; ${work}` : `${work}; ${block}`);
  return {
    /** Waits until the program has started `count` times. */
    began: (count = 1) =>
      waitFor(
        async () => (await readFile(began, 'utf8')).length >= count,
        10_000,
        `${program} to begin`,
      ),
    release: async (how: 'go on' | 'kill' = 'go on') => {
      // In this order: a script that is removed while the next `mount` starts can't be opened.
      await host.unshadow(program);
      await writeFile(`${go}.new`, how === 'kill' ? 'exit 1\n' : ':\n');
      await rename(`${go}.new`, go);
    },
  };
}
