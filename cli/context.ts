import type { AdminClient } from './admin-client.ts';

export interface Output {
  write(text: string): unknown;
  readonly isTTY?: boolean;
}

/** The process's environment and streams, as far as the command uses them. */
export interface CliIo {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdout: Output;
  readonly stderr: Output;
}

/** The daemon's client and the output of a running command. */
export interface Context extends CliIo {
  readonly client: AdminClient;
  readonly json: boolean;
  /** Prints the result: as JSON with --json, otherwise as the text that `human` returns. */
  print<T>(result: T, human: (result: T) => string): void;
}

/** Options of every command that asks the daemon. */
export interface CommonOptions {
  readonly json?: boolean;
  readonly adminSocket?: string;
}

/** Runs a command's work with its context; the work may return an exit code other than 0. */
export type Run = (
  options: CommonOptions,
  /** The volume that the command is about, for the advice that follows an error. */
  volume: string | undefined,
  work: (context: Context) => Promise<number | undefined>,
) => Promise<void>;
