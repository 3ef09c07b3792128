import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { currentMountsAt } from '../../linux/mountinfo.ts';
import { mountPage, unmount } from '../../linux/mounting.ts';
import { UnavailableError } from '../errors.ts';

/** Makes and removes the directory that stands in for a volume. */
export interface StandIn extends AsyncDisposable {
  /** Returns its path; rejects UnavailableError when it can't be made. Idempotent, also over a crash. */
  path(): Promise<string>;
}

const name = 'berth-stand-in';
const note =
  'This is not the volume. berth shows it to a Docker engine that creates a container while another\n' +
  'container uses the volume (access=container), so that the engine copies nothing into the volume.\n';

/**
 * A directory below the mount directory that is not empty and that nobody can write to: a file system in
 * memory of one page, mounted read-only. It is made at the first use, and stays mounted when the daemon
 * is killed. Two levels below the mount directory no volume is mounted, so it is taken for none.
 */
export function standIn(mountDir: string): StandIn {
  const at = join(mountDir, '.stand-in', 'not-the-volume');
  let making: Promise<string> | undefined;
  return {
    path: () => {
      making ??= make(at).catch((error) => {
        making = undefined;
        throw new UnavailableError(`${at} can't be made: ${error}`, { cause: error });
      });
      return making;
    },
    async [Symbol.asyncDispose]() {
      if (making === undefined) return;
      await making.then(() => unmount(at, { isLazy: true })).catch(() => {});
    },
  };
}

async function make(at: string): Promise<string> {
  await mkdir(dirname(at), { recursive: true, mode: 0o700 });
  await mkdir(at, { recursive: true, mode: 0o755 });
  const [mounted] = await currentMountsAt(at);
  if (mounted?.options.includes('ro')) return at;
  if (!mounted) await mountPage(name, at, { isReadOnly: false });
  await writeFile(join(at, 'NOT-THE-VOLUME.txt'), note);
  await mountPage(name, at, { isReadOnly: true });
  return at;
}
