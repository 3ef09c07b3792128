// Scans for users of volumes inside a test's host: prints what each of a number of scans found, and
// how long it took.
import { KernelUserScan } from '../../sentinel/scan/user-scan.ts';

const [volumes = '[]', times = '1', method = 'users'] = process.argv.slice(2);
// Everything here descends from the test, which runs the same program as this one.
const scan = new KernelUserScan({ daemon: () => process.pid });
for (let time = 0; time < Number(times); time += 1) {
  const began = performance.now();
  const asked = JSON.parse(volumes);
  const users = await (method === 'held' ? scan.held(asked) : scan.users(asked));
  process.stdout.write(`${JSON.stringify({ users, ms: performance.now() - began })}\n`);
}
