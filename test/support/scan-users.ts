// Scans for users of volumes inside a test's host: prints what each of a number of scans found, how
// long it took, and how long it had a processor; which users it had found soon; after how many reports it
// had found a process of the host, and how many there were.
import type { User } from '../../sentinel/ports.ts';
import { KernelUserScan } from '../../sentinel/scan/user-scan.ts';

const [volumes = '[]', times = '1', method = 'users', part] = process.argv.slice(2);
// Everything here descends from the test, which runs the same program as this one.
const scan = new KernelUserScan({
  daemon: () => process.pid,
  ...(part === undefined ? {} : { partMs: Number(part) }),
});
for (let time = 0; time < Number(times); time += 1) {
  const began = performance.now();
  const used = process.cpuUsage();
  const asked = JSON.parse(volumes);
  let soonMs: number | undefined;
  let soon: readonly User[] = [];
  let reports = 0;
  let hostAfter: number | undefined;
  const onFound = (found: readonly User[]) => {
    reports += 1;
    soonMs ??= performance.now() - began;
    if (reports === 1) soon = found;
    if (found.some(({ kind }) => kind === 'host')) hostAfter ??= reports;
  };
  const users = await (method === 'held' ? scan.held(asked) : scan.users(asked, onFound));
  const ms = performance.now() - began;
  const { user, system } = process.cpuUsage(used);
  process.stdout.write(
    `${JSON.stringify({ users, soon, soonMs, hostAfter, reports, ms, cpuMs: (user + system) / 1000 })}\n`,
  );
}
