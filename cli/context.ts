import type { AdminClient } from './admin-client.ts';

export interface Output {
  write(text: string): unknown;
  readonly isTTY?: boolean;
}

/** What the command is given by the process that runs it. */
export interface CliIo {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdout: Output;
  readonly stderr: Output;
}

/** What a command works with. */
export interface Context extends CliIo {
  readonly client: AdminClient;
  readonly json: boolean;
  /** Prints the result: as JSON when asked for, else as `human` makes it. */
  print<T>(result: T, human: (result: T) => string): void;
}

/** Options of every command that asks the daemon. */
export interface CommonOptions {
  readonly json?: boolean;
  readonly adminSocket?: string;
}

/** Runs a command's work with its context; an exit code other than 0 is what it resolves. */
export type Run = (
  options: CommonOptions,
  /** The volume that the command is about, for the advice that follows an error. */
  volume: string | undefined,
  work: (context: Context) => Promise<number | undefined>,
) => Promise<void>;
