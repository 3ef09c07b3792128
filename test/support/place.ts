import type { FinishedProcess, ProcessOptions, RunningProcess, StartOptions } from './processes.ts';
import { runProcess, startProcess } from './processes.ts';

/** Where the servers of a test run: on this machine, or in namespaces that the test has made. */
export interface Place {
  /** The IP address under which its servers are reached. */
  readonly address: string;
  /** Starts a process there. Its pid is the process's own, so signals reach it and not a wrapper. */
  spawn(command: string, args: readonly string[], options?: StartOptions): RunningProcess;
  /** Runs a command there to its end, whatever its exit code. */
  exec(
    command: string,
    args: readonly string[],
    options?: ProcessOptions,
  ): Promise<FinishedProcess>;
}

export const thisMachine: Place = {
  address: '127.0.0.1',
  spawn: startProcess,
  exec: runProcess,
};
