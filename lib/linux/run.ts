import { execFile } from 'node:child_process';
import { hasCode } from './error-code.ts';

export interface RunOptions {
  /** Aborting it kills the program; `run` rejects with the signal's reason once it has ended. */
  readonly signal?: AbortSignal | undefined;
  /** The program is killed when it takes longer. No limit by default. */
  readonly timeoutMs?: number | undefined;
  /** True: the kernel kills the program if this process dies first, however it dies. */
  readonly dieWithParent?: boolean | undefined;
  /** True: the program gets a process group of its own, and aborting kills the whole group. */
  readonly isGroup?: boolean | undefined;
  /** The Debian package of the program, named if it is missing; by default that of the table below. */
  readonly debianPackage?: string | undefined;
  /** Called with each part of the standard output. */
  readonly onOutput?: ((text: string) => void) | undefined;
  /** Variables that the program gets beside the fixed ones. */
  readonly env?: Readonly<Record<string, string>> | undefined;
}

export interface RunResult {
  readonly stdout: string;
  readonly stderr: string;
}

/** A program could not be started, failed, or took too long. The message is for a person. */
export class ProgramError extends Error {
  override readonly name = 'ProgramError';
  readonly program: string;
  /** Undefined if the program was killed or did not start. */
  readonly exitCode: number | undefined;
  /** The output of the program until its end. */
  readonly output: RunResult;
  constructor(message: string, program: string, exitCode: number | undefined, output: RunResult) {
    super(message);
    this.program = program;
    this.exitCode = exitCode;
    this.output = output;
  }
}

/**
 * Runs a program with an argument list, never through a shell. Sets English messages and a fixed
 * search path, so that they do not depend on how the daemon was started.
 *
 * Rejects with ProgramError, or with the signal's reason. The program has ended by then, so what it
 * wrote can be cleaned up without a race.
 */
export function run(
  program: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<RunResult> {
  const {
    signal,
    timeoutMs = 0,
    dieWithParent = false,
    isGroup = false,
    env = {},
    onOutput,
  } = options;
  const [file, argv] = dieWithParent
    ? ['setpriv', ['--pdeathsig', 'KILL', '--', program, ...args]]
    : isGroup
      ? ['setsid', [program, ...args]]
      : [program, [...args]];
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const child = execFile(
      file,
      argv,
      {
        env: { ...env, ...environment },
        timeout: timeoutMs,
        killSignal: 'SIGKILL',
        maxBuffer: maxOutputBytes,
      },
      (error, stdout, stderr) => {
        signal?.removeEventListener('abort', kill);
        if (error === null) resolve({ stdout, stderr });
        else if (signal?.aborted) reject(signal.reason);
        else reject(describe(error));

        function describe(failure: { code?: unknown; killed?: boolean; message: string }) {
          const exitCode = typeof failure.code === 'number' ? failure.code : undefined;
          const why =
            failure.code === 'ENOENT'
              ? missing(file, packages[file] ?? options.debianPackage)
              : failure.killed === true && exitCode === undefined
                ? `${program} did not finish within ${timeoutMs / 1000} s`
                : `${program} failed: ${inOneLine(stderr) || failure.message}`;
          return new ProgramError(why, program, exitCode, { stdout, stderr });
        }
      },
    );
    if (onOutput) child.stdout?.on('data', onOutput);
    const kill = () => {
      if (!isGroup || !killGroup(child.pid)) child.kill('SIGKILL');
    };
    signal?.addEventListener('abort', kill, { once: true });
  });
}

/** False if there is no such group (yet). */
function killGroup(leader: number | undefined): boolean {
  try {
    return leader !== undefined && process.kill(-leader, 'SIGKILL');
  } catch (error) {
    if (hasCode(error, 'ESRCH')) return false;
    throw error;
  }
}

const environment = {
  LC_ALL: 'C',
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
};

/** Large, because `cp` names each file that it could not read. */
const maxOutputBytes = 64 * 2 ** 20;

const longestMessage = 400;

/** The Debian package of each program that several rooms run; a driver names those of its own. */
const packages: Readonly<Record<string, string>> = {
  xfs_io: 'xfsprogs',
  cp: 'coreutils',
  du: 'coreutils',
  rm: 'coreutils',
  sync: 'coreutils',
  fsfreeze: 'util-linux',
  setpriv: 'util-linux',
  setsid: 'util-linux',
  mount: 'mount',
  umount: 'mount',
};

function missing(program: string, owner: string | undefined): string {
  const advice = owner === undefined ? '' : `; on Debian: apt-get install ${owner}`;
  return `the program ${program} is not installed${advice}`;
}

function inOneLine(text: string): string {
  const line = text.trim().replaceAll(/\s+/g, ' ');
  return line.length > longestMessage ? `${line.slice(0, longestMessage)}…` : line;
}
