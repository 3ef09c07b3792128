import { createInterface } from 'node:readline';
import Docker from 'dockerode';

/** States in which a container has its volumes mounted. */
const liveStates = ['running', 'paused', 'restarting'];

const answerTimeoutMs = 10_000;

/** How containers use a volume: one of them runs, or all were only created. */
export type VolumeUse = 'live' | 'created';

/** What berth asks of the Docker engine. */
export class Engine {
  readonly #docker: Docker;
  readonly #driverName: string;

  /** `driverName`: the plugin's name, as the engine shows it for the volumes of this daemon. */
  constructor(socketPath: string, driverName: string) {
    this.#docker = new Docker({ socketPath });
    this.#driverName = driverName;
  }

  /**
   * The volumes of this plugin that containers use. A dead container counts as none, although it
   * may be about to start. Rejects when the engine is away.
   */
  async volumesInUse(signal: AbortSignal): Promise<ReadonlyMap<string, VolumeUse>> {
    const containers = await this.#docker.listContainers({
      all: true,
      filters: { status: ['created', ...liveStates] },
      abortSignal: AbortSignal.any([signal, AbortSignal.timeout(answerTimeoutMs)]),
    });
    const uses = new Map<string, VolumeUse>();
    for (const { State, Mounts } of containers) {
      for (const { Driver, Name } of Mounts) {
        if (!Name || !this.#isOurs(Driver)) continue;
        if (State !== 'created') uses.set(Name, 'live');
        else if (!uses.has(Name)) uses.set(Name, 'created');
      }
    }
    return uses;
  }

  /** Says that the engine listens, then when a container has ended. Ends or rejects with the engine. */
  async *news(signal: AbortSignal): AsyncGenerator<'listens' | 'container ended', void> {
    const options = {
      filters: { type: ['container' as const], event: ['die', 'destroy'] },
      abortSignal: signal,
    };
    const stream = await this.#docker.getEvents(options);
    yield 'listens';
    for await (const _event of createInterface({ input: stream })) yield 'container ended';
  }

  /**
   * Has the engine list its volumes, for which it looks for plugins and activates those that it
   * has not met. Rejects when it is away, or when the signal aborts.
   */
  async meetPlugins(signal: AbortSignal): Promise<void> {
    await this.#docker.listVolumes({ abortSignal: signal });
  }

  /**
   * A managed plugin's driver has a repository and a tag: `me/berth:latest`. It can't know which,
   * so all of them count. Another plugin's volume of the same name only delays what waits for ours.
   */
  #isOurs(driver: string | undefined): boolean {
    return driver === this.#driverName || (driver?.includes(':') ?? false);
  }
}
