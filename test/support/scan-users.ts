// Scans for users of volumes inside a test's host: prints what each of a number of scans found, how
// long it took, and how long it had a processor; and which users it had found soon.
import type { User } from '../../sentinel/ports.ts';
import { KernelUserScan } from '../../sentinel/scan/user-scan.ts';

const [volumes = '[]', times = '1', method = 'users'] = process.argv.slice(2);
// Everything here descends from the test, which runs the same program as this one.
const scan = new KernelUserScan({ daemon: () => process.pid });
for (let time = 0; time < Number(times); time += 1) {
  const began = performance.now();
  const used = process.cpuUsage();
  const asked = JSON.parse(volumes);
  let soonMs: number | undefined;
  let soon: readonly User[] = [];
  const onFound = (found: readonly User[]) => {
    soonMs = performance.now() - began;
    soon = found;
  };
  const users = await (method === 'held' ? scan.held(asked) : scan.users(asked, onFound));
  const ms = performance.now() - began;
  const { user, system } = process.cpuUsage(used);
  process.stdout.write(
    `${JSON.stringify({ users, soon, soonMs, ms, cpuMs: (user + system) / 1000 })}\n`,
  );
}
