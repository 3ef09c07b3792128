import type { AskEngine, UsingContainer } from '../../lib/volumes/mounts/one-container.ts';
import type { ContainerState, Engine, ListedContainer } from './engine.ts';

/**
 * How long the engine may take to answer about a container that it does not work on. A slower answer
 * counts as work on the container, which can only refuse a Mount.
 */
const busyAfterMs = 1_000;

/**
 * Returns the question which containers have a volume. The list of an engine needs no container's lock;
 * the question about one container waits for its lock, which the engine has during a start until the
 * answer to the Mount (moby: containerStart, containerArchivePath, ContainerInspect; tried with 20.10 and
 * 26.1).
 */
export function askEngine(engine: Pick<Engine, 'containersWith' | 'stateOf'>): AskEngine {
  return async (volume, signal) => {
    const listed = await engine.containersWith(volume, signal);
    const states = await Promise.all(
      listed.map(async (container) => ({
        container,
        state: await engine.stateOf(container.id, busyAfterMs, signal),
      })),
    );
    const running: UsingContainer[] = [];
    const busy: UsingContainer[] = [];
    for (const { container, state } of states) {
      if (isRunning(container, state)) running.push(named(container, state));
      else if (state === 'busy') busy.push(named(container, state));
    }
    return { running, busy };
  };
}

/** Counts a container that has ended since it was listed: its Unmount may still be on its way. */
function isRunning(listed: ListedContainer, state: ContainerState): boolean {
  return listed.isRunning || (typeof state === 'object' && state.isRunning);
}

function named({ id, name }: ListedContainer, state: ContainerState): UsingContainer {
  return typeof state === 'object' ? { id, name, startedAt: state.startedAt } : { id, name };
}
