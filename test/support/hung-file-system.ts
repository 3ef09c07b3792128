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
  /** The mountpoint. Whoever opens or lists it, or looks a name up in it, sleeps until this is disposed of. */
  readonly path: string;
  /** Answers all that was or will be asked, from now on: there is nothing. */
  answer(): Promise<void>;
}

/** Requests of the kernel (linux/fuse.h). */
const operations = {
  ...{ lookup: 1, forget: 2, getattr: 3, statfs: 17, init: 26, opendir: 27, access: 34 },
  ...{ interrupt: 36, batchForget: 42, syncfs: 50 },
};
/** The requests whose sender sleeps. */
const held = [
  ...[operations.lookup, operations.statfs, operations.opendir, operations.access],
  operations.syncfs,
];
/** The kernel expects no answer to these. */
const silent = [operations.forget, operations.interrupt, operations.batchForget];
/** ENOSYS: there is no such operation here. */
const noSuchOperation = -38;
/** ENOENT. */
const noSuchName = -2;

/**
 * Mounts it on this machine, at `at` or in a directory of its own; hosts that start later see it, too.
 * It answers nothing that a program waits for but the attributes of its root.
 */
export async function makeHungFileSystem(at?: string): Promise<HungFileSystem> {
  await using stack = new AsyncDisposableStack();
  const directory = stack.use(await makeTemporaryDirectory());
  const path = at ?? join(directory.path, 'hung');
  await mkdir(path, { recursive: true });
  // The kernel ends all requests with an error when the file is closed.
  const device = stack.use(await open('/dev/fuse', 'r+'));
  const options = 'fd=3,rootmode=40000,user_id=0,group_id=0,allow_other';
  const mount = spawn('mount', ['-i', '-t', 'fuse', '-o', options, 'hung', path], {
    stdio: ['ignore', 'inherit', 'inherit', device.fd],
  });
  const [code] = await once(mount, 'exit');
  if (code !== 0) throw new Error(`mount ended with ${code}`);
  const requests = new HeldRequests((answer) => device.write(answer));
  const serving = serve(
    (buffer) => device.read(buffer),
    (answer) => device.write(answer),
    requests,
  );
  stack.defer(async () => {
    await runOk('umount', ['--lazy', '--force', path]);
    await serving;
  });
  const owned = stack.move();
  return {
    path,
    answer: () => requests.answer(),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** Keeps the requests whose senders sleep. */
class HeldRequests {
  readonly #write: (answer: Buffer) => Promise<unknown>;
  readonly #held: Buffer[] = [];
  #isAnswering = false;

  constructor(write: (answer: Buffer) => Promise<unknown>) {
    this.#write = write;
  }

  async add(request: Buffer): Promise<void> {
    this.#held.push(Buffer.from(request));
    if (this.#isAnswering) await this.answer();
  }

  async answer(): Promise<void> {
    this.#isAnswering = true;
    for (const request of this.#held.splice(0)) {
      await send(this.#write, request, noSuchName);
    }
  }
}

async function send(
  write: (answer: Buffer) => Promise<unknown>,
  request: Buffer,
  error: number,
  answer?: Buffer,
): Promise<void> {
  const header = Buffer.alloc(16);
  header.writeUInt32LE(header.length + (answer?.length ?? 0), 0);
  header.writeInt32LE(error, 4);
  request.copy(header, 8, 8, 16); // The request's number.
  try {
    await write(Buffer.concat(answer ? [header, answer] : [header]));
  } catch (failure) {
    if (!hasCode(failure, 'ENOENT')) throw failure; // Its process was killed meanwhile.
  }
}

async function serve(
  read: (buffer: Buffer) => Promise<{ bytesRead: number }>,
  write: (answer: Buffer) => Promise<unknown>,
  requests: HeldRequests,
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
    if (held.includes(operation)) await requests.add(buffer.subarray(0, 64));
    if (held.includes(operation) || silent.includes(operation)) continue;
    const answer = answerTo(operation);
    await send(write, buffer, answer ? 0 : noSuchOperation, answer);
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
  if (operation !== operations.getattr) return undefined;
  const answer = Buffer.alloc(104);
  answer.writeBigUInt64LE(3600n, 0); // Seconds for which the kernel may keep it.
  answer.writeBigUInt64LE(1n, 16); // The root's number.
  answer.writeUInt32LE(0o40777, 76);
  answer.writeUInt32LE(2, 80);
  return answer;
}
