import Docker from 'dockerode';

/** States in which a container has its volumes mounted. */
const liveStates = ['running', 'paused', 'restarting'];

/** What berth asks of the Docker engine. */
export class Engine {
  readonly #docker: Docker;
  readonly #driverName: string;

  /** `driverName`: the plugin's name, as the engine shows it for the volumes of this daemon. */
  constructor(socketPath: string, driverName: string) {
    this.#docker = new Docker({ socketPath });
    this.#driverName = driverName;
  }

  /** The volumes of this plugin that live containers use. Rejects when the engine is away. */
  async volumesInUse(): Promise<ReadonlySet<string>> {
    const containers = await this.#docker.listContainers({
      all: true,
      filters: { status: liveStates },
    });
    const mounts = containers.flatMap((container) => container.Mounts);
    return new Set(
      mounts.flatMap(({ Driver, Name }) => (Name && this.#isOurs(Driver) ? [Name] : [])),
    );
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
