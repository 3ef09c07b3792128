// Finds the kernel of the tests' guests: User Mode Linux, which runs as an ordinary process. The
// kernels of bookworm (6.1) and trixie (6.12) panic on processors with AMX ("ptrace set fp regs
// failed"). That of sid boots everywhere, but sid is not always reachable and changes daily. So
// set-up boots each candidate once and records the first that works.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cacheDirectory, hasSuite, suiteDirectory, unpackSuite } from './debian-suite.mjs';
import { execute, say } from './execute.mjs';
import { installPackages } from './system-tools.mjs';

/** test/support/tools.ts reads this file. */
const record = join(cacheDirectory, 'uml-kernel.json');
const suite = 'sid';
const installed = { kernel: '/usr/bin/linux.uml', modules: '/usr/lib/uml/modules' };

export function hasUmlKernel() {
  return existsSync(record) && existsSync(JSON.parse(readFileSync(record, 'utf8')).kernel);
}

/** Tries sid's kernel first, then that of this machine's own release. */
export async function findUmlKernel() {
  const problems = [];
  for (const [origin, provide] of [
    [`Debian ${suite}`, fetchKernel],
    ['installed', installKernel],
  ]) {
    try {
      const candidate = await provide();
      const version = await boot(candidate);
      say(`User Mode Linux ${version} (${origin}) boots here`);
      writeFileSync(record, JSON.stringify({ ...candidate, version, origin }));
      return;
    } catch (error) {
      problems.push(`${origin}: ${error.message}`);
    }
  }
  throw new Error(problems.join('\n'));
}

async function fetchKernel() {
  if (!hasSuite(suite)) await unpackSuite(suite);
  const files = join(suiteDirectory(suite), 'usr');
  return { kernel: join(files, 'bin/linux.uml'), modules: join(files, 'lib/uml/modules') };
}

async function installKernel() {
  if (!existsSync(installed.kernel)) await installPackages(['user-mode-linux']);
  return installed;
}

/** Boots a guest up to its first program, and returns the kernel's version. */
async function boot({ kernel, modules }) {
  const directory = mkdtempSync(join(tmpdir(), 'berth-uml-'));
  try {
    const init = join(directory, 'init');
    const script = [
      '#!/bin/sh',
      'export PATH=/usr/sbin:/usr/bin:/sbin:/bin',
      'mount -t proc proc /proc',
      `mount -t tmpfs tmpfs /mnt && mkdir /mnt/lib && ln -s ${modules} /mnt/lib/modules`,
      'modprobe -d /mnt -a overlay loop && echo "booted $(uname -r)"',
      'echo o > /proc/sysrq-trigger',
      'sleep 9',
    ];
    writeFileSync(init, `${script.join('\n')}\n`, { mode: 0o755 });
    const { output } = await execute('timeout', [
      // A kernel that panics may hang. All its processes end with the first one.
      ...['--signal=KILL', '60', 'unshare', '--pid', '--fork', '--kill-child', '--mount-proc'],
      ...[kernel, 'mem=256M', 'root=/dev/root', 'rootfstype=hostfs', 'ro', `init=${init}`],
      ...[`uml_dir=${directory}`, 'con=null', 'con0=null,fd:1', 'quiet', 'loglevel=1'],
    ]);
    const [, version] = /^booted (\S+)/m.exec(output) ?? [];
    if (version === undefined) throw new Error(`does not boot here: ${output.trim().slice(-500)}`);
    return version;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
