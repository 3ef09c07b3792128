// A file system whose server does not answer, as a network file system whose server is gone. Whoever
// opens a file there sleeps in the kernel, and can't be frozen while it does: unlike one that waits
// for a file system frozen by fsfreeze, on newer kernels.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { hasCode } from '../../lib/linux/error-code.ts';
import { runOk } from './processes.ts';
import { makeTemporaryDirectory } from './temporary-directory.ts';

export interface HungFileSystem extends AsyncDisposable {
  /** The mountpoint. Whoever opens `PATH/NAME` sleeps until this is disposed of. */
  readonly path: string;
}

/** Requests of the kernel (linux/fuse.h). */
const operations = { lookup: 1, forget: 2, getattr: 3, statfs: 17, init: 26, interrupt: 36 };
const unanswered = [operations.lookup, operations.forget, operations.interrupt, 42];
/** ENOSYS: there is no such operation here. */
const noSuchOperation = -38;

/** Mounts it on this machine; hosts that start later see it, too. It answers no lookup of a name. */
export async function makeHungFileSystem(): Promise<HungFileSystem> {
  await using stack = new AsyncDisposableStack();
  const directory = stack.use(await makeTemporaryDirectory());
  const path = join(directory.path, 'hung');
  await mkdir(path);
  // The kernel ends all requests with an error when the file is closed.
  const device = stack.use(await open('/dev/fuse', 'r+'));
  const options = 'fd=3,rootmode=40000,user_id=0,group_id=0,allow_other';
  const mount = spawn('mount', ['-i', '-t', 'fuse', '-o', options, 'hung', path], {
    stdio: ['ignore', 'inherit', 'inherit', device.fd],
  });
  const [code] = await once(mount, 'exit');
  if (code !== 0) throw new Error(`mount ended with ${code}`);
  const serving = serve(
    (buffer) => device.read(buffer),
    (answer) => device.write(answer),
  );
  stack.defer(async () => {
    await runOk('umount', ['--lazy', '--force', path]);
    await serving;
  });
  const owned = stack.move();
  return { path, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

async function serve(
  read: (buffer: Buffer) => Promise<{ bytesRead: number }>,
  write: (answer: Buffer) => Promise<unknown>,
): Promise<void> {
  const buffer = Buffer.alloc(1 << 18);
  for (;;) {
    try {
      await read(buffer);
    } catch (error) {
      if (hasCode(error, 'ENODEV')) return; // It was unmounted.
      throw error;
    }
    const operation = buffer.readUInt32LE(4);
    if (unanswered.includes(operation)) continue;
    const answer = answerTo(operation);
    const header = Buffer.alloc(16);
    header.writeUInt32LE(header.length + (answer?.length ?? 0), 0);
    header.writeInt32LE(answer ? 0 : noSuchOperation, 4);
    buffer.copy(header, 8, 8, 16); // The request's number.
    try {
      await write(Buffer.concat(answer ? [header, answer] : [header]));
    } catch (error) {
      if (!hasCode(error, 'ENOENT')) throw error; // Its process was killed meanwhile.
    }
  }
}

function answerTo(operation: number): Buffer | undefined {
  if (operation === operations.init) {
    const answer = Buffer.alloc(64);
    answer.writeUInt32LE(7, 0); // The protocol's version, 7.31.
    answer.writeUInt32LE(31, 4);
    answer.writeUInt32LE(4096, 20); // The longest write.
    return answer;
  }
  if (operation === operations.statfs) return Buffer.alloc(80);
  if (operation !== operations.getattr) return undefined;
  const answer = Buffer.alloc(104);
  answer.writeBigUInt64LE(3600n, 0); // Seconds for which the kernel may keep it.
  answer.writeBigUInt64LE(1n, 16); // The root's number.
  answer.writeUInt32LE(0o40777, 76);
  answer.writeUInt32LE(2, 80);
  return answer;
}
