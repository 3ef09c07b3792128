import { dirname, join } from 'node:path';

/** The port on which the guest takes commands. */
export const agentPort = 1;

export interface Guest {
  readonly name: string;
  readonly address: string;
  readonly directory: string;
  readonly outside: string;
  readonly shared: readonly string[];
}

/** Returns the program that a guest's kernel runs first: it builds the root, and starts the agent. */
export function initScript({ name, address, directory, outside, shared }: Guest): string {
  const root = '/mnt/root';
  const node = dirname(process.execPath);
  const agent = join(import.meta.dirname, 'guest-agent.mjs');
  return `#!/bin/sh
set -e
export PATH=${node}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
# Linux 7.2 as a process maps the rings of io_uring wrongly, which corrupts the memory of each Node.
[ ! -e /proc/sys/kernel/io_uring_disabled ] || echo 2 > /proc/sys/kernel/io_uring_disabled
modprobe -d ${outside} -a overlay loop
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work ${root}
mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work overlay ${root}
for each in proc sys dev; do mount --rbind /$each ${root}/$each; done
mount -t tmpfs -o mode=755 tmpfs ${root}/run
mkdir -p ${root}/run/docker/plugins ${root}/run/lock ${root}/dev/shm
mount -t tmpfs tmpfs ${root}/dev/shm
mount -t cgroup2 cgroup ${root}/sys/fs/cgroup
mount -t ext4 /dev/ubda ${root}${directory}
${shared.map((path) => `mount -t hostfs none ${root}${path} -o ${path}`).join('\n')}
hostname ${name}
ip link set lo up
ip addr add ${address}/24 dev vec0
ip link set vec0 up
cd ${root}
mkdir run/before
pivot_root . run/before
umount -l run/before
mount --make-rshared /
exec node ${agent} ${agentPort}
`;
}
