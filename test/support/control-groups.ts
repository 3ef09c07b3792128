// Which version of control groups a host of the tests has.
import { existsSync } from 'node:fs';

/** The versions of control groups on which engines and the sentinel run. */
export type ControlGroups = 1 | 2;

const hasFreezer = existsSync('/sys/fs/cgroup/freezer');

/**
 * Returns the version that a host gets which wants this one. A machine with version 2 alone offers no
 * other: then the run says so by name.
 */
export function availableControlGroups(wanted: ControlGroups, host: string): ControlGroups {
  if (wanted === 1 && !hasFreezer) {
    process.stderr.write(`host ${host}: no control groups v1 on this machine, v2 instead\n`);
    return 2;
  }
  return wanted;
}

/**
 * Shell commands that give a mount namespace control groups v2 alone: engines, runc and the sentinel use
 * the version that is mounted at /sys/fs/cgroup. Where the machine uses version 1, its controllers are
 * in the hierarchies of version 1, so such a host sets no limits; but freezing, killing, device rules
 * and control-group namespaces are those of version 2.
 */
export const onlyVersion2 = `
umount --recursive --lazy /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup`;

/** Returns the path, inside a host, of the control group that freezes a container. */
export function freezerGroup(version: ControlGroups, ...names: string[]): string {
  return ['/sys/fs/cgroup', ...(version === 1 ? ['freezer'] : []), ...names].join('/');
}
