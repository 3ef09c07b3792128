import type { ContainerCommand, ContainerCommands } from '../../lib/volumes/container-commands.ts';
import { CommandFailedError } from '../../lib/volumes/errors.ts';
import type { Engine, ListedContainer } from './engine.ts';

/** Runs commands in the containers that use a volume, as `docker exec` does. */
export function containerCommands(
  engine: Pick<Engine, 'containersWith' | 'exec'>,
): ContainerCommands {
  return {
    run: async ({ volume, container, command, limitMs }, signal) => {
      const containers = await engine.containersWith(volume, signal);
      const running = containers.filter(({ isRunning }) => isRunning);
      const chosen = choose({ volume, container }, running);
      const limit = AbortSignal.timeout(limitMs);
      const result = await engine.exec(chosen.id, command, AbortSignal.any([signal, limit]));
      const what = `the command ${JSON.stringify(command)} in container ${chosen.name}`;
      if (result.exitCode === undefined) {
        const why = limit.aborted ? `did not end within ${limitMs / 1_000} s` : 'was interrupted';
        throw new CommandFailedError(`${what} ${why}, and was killed; nothing was kept`);
      }
      if (result.exitCode === 0) return;
      throw new CommandFailedError(
        `${what} failed with exit code ${result.exitCode}${saying(result.output)}; nothing was kept`,
      );
    },
  };
}

function choose(
  { volume, container }: Pick<ContainerCommand, 'volume' | 'container'>,
  running: readonly ListedContainer[],
): ListedContainer {
  const names = running.map(({ name }) => name).join(', ') || 'none';
  if (container !== undefined) {
    const found = running.find(({ id, name }) => name === container || id.startsWith(container));
    if (found) return found;
    throw new CommandFailedError(
      `no running container ${container} uses volume ${volume} on this host; those that do: ${names}`,
    );
  }
  const [only, ...others] = running;
  if (only && others.length === 0) return only;
  throw new CommandFailedError(
    only
      ? `several containers use volume ${volume}: ${names}; name one with --in`
      : `no container of this host uses volume ${volume}, so a command can't be run in one`,
  );
}

function saying(output: string): string {
  const text = output.trim();
  return text === '' ? '' : `: ${text}`;
}
