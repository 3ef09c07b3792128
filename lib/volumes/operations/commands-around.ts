import { messageOf } from '../../running/message-of.ts';
import { never } from '../../running/never.ts';
import type { ContainerCommands } from '../container-commands.ts';
import { CommandFailedError } from '../errors.ts';
import type { CommandsAround } from '../service.ts';

const defaultLimitMs = 60_000;

/**
 * Does work between two commands, of which the second undoes the first (a database flushes, and
 * goes on). The second also runs if the first or the work has failed. Rejects if any of the three does.
 */
export async function between(
  volume: string,
  commands: CommandsAround | undefined,
  containers: ContainerCommands,
  signal: AbortSignal,
  work: () => Promise<void>,
): Promise<void> {
  const { before, after, container, limitMs = defaultLimitMs } = commands ?? {};
  const run = async (command: string | undefined, when: AbortSignal) => {
    if (command !== undefined) await containers.run({ volume, container, command, limitMs }, when);
  };
  try {
    await run(before, signal);
    await work();
  } catch (error) {
    // The caller may have left: what was begun is still undone.
    await run(after, never).catch((undoing) => {
      throw new CommandFailedError(`${messageOf(error)}; then also: ${messageOf(undoing)}`, {
        cause: error,
      });
    });
    throw error;
  }
  await run(after, never);
}
