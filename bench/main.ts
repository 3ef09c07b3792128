// Runs all benches, or those that the arguments name. Exits with 1 if a figure breaks its limit.

import { benchCopyDirectory } from './copy-directory.ts';
import { benchFailover } from './failover.ts';
import { benchGroupCommit } from './group-commit.ts';
import { benchHosts } from './hosts.ts';
import { benchImageMount } from './image-mount.ts';
import { benchLockCycle } from './lock-cycle.ts';
import { benchLocks } from './locks.ts';
import { benchManyContainers } from './many-containers.ts';
import { benchManyMounts } from './many-mounts.ts';
import { benchMountFloor } from './mount-floor.ts';
import { benchPluginSocket } from './plugin-socket.ts';
import { benchResident } from './resident.ts';
import { benchStopGroups } from './stop-groups.ts';
import { benchStoreWrites } from './store-writes.ts';
import { benchWriteStop } from './write-stop.ts';

const benches: Readonly<Record<string, () => Promise<number>>> = {
  'copy-directory': benchCopyDirectory,
  failover: benchFailover,
  'group-commit': benchGroupCommit,
  hosts: benchHosts,
  'image-mount': benchImageMount,
  'lock-cycle': benchLockCycle,
  locks: benchLocks,
  'many-containers': benchManyContainers,
  'many-mounts': benchManyMounts,
  'mount-floor': benchMountFloor,
  'plugin-socket': benchPluginSocket,
  resident: benchResident,
  'stop-groups': benchStopGroups,
  'store-writes': benchStoreWrites,
  'write-stop': benchWriteStop,
};

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !(name in benches));
if (unknown.length > 0) {
  const names = Object.keys(benches).join(', ');
  process.stderr.write(`there is no bench ${unknown.join(', ')}; there are: ${names}\n`);
  process.exit(2);
}
let over = 0;
for (const [name, bench] of Object.entries(benches)) {
  if (wanted.length === 0 || wanted.includes(name)) over += await bench();
}
process.exitCode = over > 0 ? 1 : 0;
