import { join } from 'node:path';

const calls = join(import.meta.dirname, '../../lib/linux/mount-calls.ts');
const hidden = join(import.meta.dirname, 'hidden-module.ts');

/**
 * A shell script that hides the mount calls in its mount namespace: berth mounts by the programs
 * `mount` and `umount` there, as on a machine for which koffi has no library. Copies of directories, which
 * have no other way, still use koffi.
 */
export const hideMountCalls = `mount --bind "${hidden}" "${calls}"`;
