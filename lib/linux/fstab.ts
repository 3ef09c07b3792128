import { readIfThere } from './state-file.ts';

/**
 * Lists the mountpoints in a text of the form of /etc/fstab (fstab(5)), without swap and without the
 * root. Lines that are no entries are left out.
 */
export function mountpointsInFstab(text: string): string[] {
  return text.split('\n').flatMap((line) => {
    const [source = '', mountpoint = ''] = line.trim().split(/\s+/);
    if (source === '' || source.startsWith('#') || !mountpoint.startsWith('/')) return [];
    const path = mountpoint.replaceAll(/\\([0-7]{3})/g, (_, digits: string) =>
      String.fromCharCode(Number.parseInt(digits, 8)),
    );
    return path === '/' ? [] : [path.replace(/\/+$/, '')];
  });
}

/**
 * Returns a mountpoint of /etc/fstab that is `path` or above it, and at which nothing is mounted in
 * this mount namespace: what is written to `path` now would be hidden when it is mounted. Undefined: there is none.
 * `mountpoints`: the paths at which something is mounted.
 */
export async function unmountedOnFstab(
  path: string,
  mountpoints: ReadonlySet<string>,
  fstab = '/etc/fstab',
): Promise<string | undefined> {
  const listed = mountpointsInFstab((await readIfThere(fstab)) ?? '');
  return listed.find(
    (mountpoint) =>
      !mountpoints.has(mountpoint) && (path === mountpoint || path.startsWith(`${mountpoint}/`)),
  );
}
