import { join } from 'node:path';

const packages = join(import.meta.dirname, '../../node_modules/@koromix');

/**
 * A shell script that hides koffi's libraries in its mount namespace: berth mounts by the programs
 * `mount` and `umount` there, as on a machine for which koffi has no library.
 */
export const hideMountCalls = `
for library in "${packages}"/koffi-*/*/koffi.node; do
  [ ! -e "$library" ] || mount --bind /dev/null "$library"
done`;
