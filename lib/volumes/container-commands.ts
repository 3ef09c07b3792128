/** Runs commands inside the containers of this host. */
export interface ContainerCommands {
  /**
   * Runs a command by the shell of a running container that uses the volume: the one of that name, or the only
   * one. Resolves when it has exited with 0. Rejects CommandFailedError with its exit code and the end of its
   * output, when there is no such container or several, and when it has not exited within the limit; then
   * it is killed.
   */
  run(command: ContainerCommand, signal: AbortSignal): Promise<void>;
}

export interface ContainerCommand {
  readonly volume: string;
  /** The name or the ID of the container; undefined: the only one. */
  readonly container: string | undefined;
  readonly command: string;
  readonly limitMs: number;
}
