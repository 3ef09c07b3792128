import type { FinishedProcess, ProcessOptions, RunningProcess, StartOptions } from './processes.ts';
import { runProcess, startProcess } from './processes.ts';

/** A machine that servers of a test run on: this one, or namespaces that stand for one. */
export interface Machine {
  /** The IP address of its servers. */
  readonly address: string;
  /**
   * Starts a process there. The pid is the process's own, so signals reach it and not a wrapper.
   */
  spawn(command: string, args: readonly string[], options?: StartOptions): RunningProcess;
  /** Runs a command there to its end; does not check the exit code. */
  exec(
    command: string,
    args: readonly string[],
    options?: ProcessOptions,
  ): Promise<FinishedProcess>;
}

export const thisMachine: Machine = {
  address: '127.0.0.1',
  spawn: startProcess,
  exec: runProcess,
};
