import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

/** Mounts and unmounts one directory by the bare system calls, and measures them itself. */
export interface MountHelper extends AsyncDisposable {
  mountMs(): Promise<number>;
  unmountMs(): Promise<number>;
}

/** The numbers of mount(2) and umount2(2). Node has neither call; Perl, which Debian needs, has. */
const numbers: Readonly<Record<string, readonly [number, number]>> = {
  x64: [165, 166],
  arm64: [40, 39],
};

const msBind = 0x1000;

const program = `
use Time::HiRes qw(time);
$| = 1;
my ($mount, $umount, $from, $at) = @ARGV;
while (my $line = <STDIN>) {
  my $begin = time;
  my $done = $line =~ /^m/
    ? syscall($mount, $from, $at, my $type = "none", ${msBind}, 0)
    : syscall($umount, $at, 0);
  my $ms = 1000 * (time - $begin);
  print $done == 0 ? "$ms\\n" : "failed: $!\\n";
}
`;

export async function startHelper(directory: string): Promise<MountHelper> {
  const [mount, umount] = numbers[process.arch] ?? [];
  if (mount === undefined || umount === undefined) {
    throw new Error(`the system calls of ${process.arch} are not known here`);
  }
  const [from, at] = [join(directory, 'floor-from'), join(directory, 'floor-at')];
  for (const path of [from, at]) await mkdir(path);
  const args = ['-e', program, String(mount), String(umount), from, at];
  const child = spawn('perl', args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ask = async (call: string) => {
    child.stdin.write(`${call}\n`);
    const { value } = await answers.next();
    const ms = Number(value);
    if (!Number.isFinite(ms)) throw new Error(`${call} ${at}: ${value}`);
    return ms;
  };
  return {
    mountMs: () => ask('mount'),
    unmountMs: () => ask('umount'),
    [Symbol.asyncDispose]: async () => {
      child.stdin.end();
      await once(child, 'close');
    },
  };
}
