import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { Writable } from 'node:stream';
import type Docker from 'dockerode';
import { killProcess } from '../../lib/linux/control-group-kill.ts';

export interface ExecResult {
  /** Undefined: it had not ended when the signal aborted, and was killed. */
  readonly exitCode: number | undefined;
  /** The end of what it printed. */
  readonly output: string;
}

const answerTimeoutMs = 10_000;
/** Limits how many characters of an output an error message shows. */
const longestOutput = 500;

/**
 * Runs a command by the shell of a running container, as `docker exec` does. Rejects when the engine
 * refuses, or does not answer.
 */
export async function execIn(
  docker: Docker,
  id: string,
  command: string,
  signal: AbortSignal,
): Promise<ExecResult> {
  const answer = () => AbortSignal.timeout(answerTimeoutMs);
  const exec = await docker.getContainer(id).exec({
    ...{ Cmd: ['sh', '-c', command], AttachStdout: true, AttachStderr: true },
    abortSignal: AbortSignal.any([signal, answer()]),
  });
  const stream = await startOf(exec);
  let output = '';
  const tail = new Writable({
    write(chunk, _encoding, done) {
      output = `${output}${chunk}`.slice(-longestOutput);
      done();
    },
  });
  docker.modem.demuxStream(stream, tail, tail);
  // An engine that dies ends the stream with an error: then `inspect` says so, too.
  const ended = once(stream, 'end').then(
    () => true,
    () => true,
  );
  const aborted = once(signal, 'abort').then(() => false);
  const hasEnded = signal.aborted ? false : await Promise.race([ended, aborted]);
  stream.destroy();
  const { ExitCode, Pid } = await exec.inspect({ abortSignal: answer() });
  if (hasEnded && ExitCode !== null) return { exitCode: ExitCode, output };
  // An engine has no call that ends a command of `docker exec`.
  if (Pid > 0) killProcess(Pid);
  return { exitCode: undefined, output };
}

/** Starts a command. The limit is for the engine's answer alone: the stream ends with the command. */
async function startOf(exec: Docker.Exec): Promise<Duplex> {
  const limit = new AbortController();
  const timer = setTimeout(() => limit.abort(), answerTimeoutMs);
  try {
    return await exec.start({ abortSignal: limit.signal });
  } finally {
    clearTimeout(timer);
  }
}
