import { createInterface } from 'node:readline';
import type Docker from 'dockerode';
import { z } from 'zod';
import type { ExecResult } from './exec.ts';
import { execIn } from './exec.ts';
import type { InspectedContainer } from './restart-verdict.ts';

/** States in which a container has its volumes mounted. */
const liveStates = ['running', 'paused', 'restarting'];

/** States in which a container uses its volumes; one that is `restarting` waits without them. */
const usingStates = ['running', 'paused'];

const answerTimeoutMs = 10_000;
/** A Create waits for this answer. */
const infoTimeoutMs = 5_000;
/** A start waits for the Mounts of all its volumes, for up to 120 s each. */
const startTimeoutMs = 300_000;

/** How containers use a volume: `live` if one of them runs, `created` if all were only created. */
export type VolumeUse = 'live' | 'created';

/** A container as the engine lists it. */
export interface ListedContainer {
  readonly id: string;
  readonly name: string;
  readonly isRunning: boolean;
}

/** The answer about one container. */
export type ContainerState =
  | { readonly isRunning: boolean; readonly startedAt: string }
  | 'busy'
  | undefined;

/** berth's questions to the Docker engine. */
export class Engine {
  readonly #socketPath: string;
  #client: Promise<Docker> | undefined;
  readonly #driverName: string;

  /** `driverName` is the plugin's name, as the engine shows it for the volumes of this daemon. */
  constructor(socketPath: string, driverName: string) {
    this.#socketPath = socketPath;
    this.#driverName = driverName;
  }

  /** Loads dockerode with the first question: importing a daemon loads neither its SSH nor its gRPC. */
  get #docker(): Promise<Docker> {
    const socketPath = this.#socketPath;
    this.#client ??= import('dockerode').then(({ default: Client }) => new Client({ socketPath }));
    return this.#client;
  }

  /**
   * Returns the volumes of this plugin that containers use. Ignores a dead container, although it
   * may be about to start. Rejects when the engine does not answer.
   */
  async volumesInUse(signal: AbortSignal): Promise<ReadonlyMap<string, VolumeUse>> {
    const containers = await (await this.#docker).listContainers({
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

  /** Lists the containers with a volume of this plugin, in all states. Rejects as `volumesInUse` does. */
  async containersWith(volume: string, signal: AbortSignal): Promise<ListedContainer[]> {
    const containers = await (await this.#docker).listContainers({
      all: true,
      filters: { volume: [volume] },
      abortSignal: AbortSignal.any([signal, AbortSignal.timeout(answerTimeoutMs)]),
    });
    return containers
      .filter(({ Mounts }) =>
        Mounts.some(({ Name, Driver }) => Name === volume && this.#isOurs(Driver)),
      )
      .map(({ Id, Names: [name = Id], State }) => ({
        id: Id,
        name: name.replace(/^\//, ''),
        isRunning: usingStates.includes(State),
      }));
  }

  /**
   * Asks for one container. `busy`: the engine does not answer within the limit, because it starts the
   * container, or copies from it, and keeps it locked. Undefined: it is gone. Rejects when the engine
   * can't be reached.
   */
  async stateOf(id: string, limitMs: number, signal: AbortSignal): Promise<ContainerState> {
    const limit = AbortSignal.timeout(limitMs);
    const options = { abortSignal: AbortSignal.any([signal, limit]) };
    try {
      const container = (await this.#docker).getContainer(id);
      const { Running, Paused, Restarting, StartedAt } = (await container.inspect(options)).State;
      return { isRunning: (Running || Paused) && !Restarting, startedAt: StartedAt };
    } catch (error) {
      if (limit.aborted) return 'busy';
      if (statusOf(error) === 404) return undefined;
      throw error;
    }
  }

  /** Yields once the engine sends events, and at each end of a container. Ends with the engine. */
  async *news(signal: AbortSignal): AsyncGenerator<'listens' | 'container ended', void> {
    const options = {
      filters: { type: ['container' as const], event: ['die', 'destroy'] },
      abortSignal: signal,
    };
    const stream = await (await this.#docker).getEvents(options);
    yield 'listens';
    for await (const _event of createInterface({ input: stream })) yield 'container ended';
  }

  /**
   * Asks the engine to list its volumes: for that it looks for plugins and activates new ones.
   * Rejects when the engine does not answer, or when the signal aborts.
   */
  async meetPlugins(signal: AbortSignal): Promise<void> {
    await (await this.#docker).listVolumes({ abortSignal: signal });
  }

  /** Returns the drivers of the volumes that are not this daemon's, by name. Rejects when the engine does not answer. */
  async foreignVolumes(signal: AbortSignal): Promise<ReadonlyMap<string, string>> {
    const abortSignal = AbortSignal.any([signal, AbortSignal.timeout(answerTimeoutMs)]);
    const { Volumes } = await (await this.#docker).listVolumes({ abortSignal });
    const foreign = Volumes.filter(({ Driver }) => !this.#isOurs(Driver));
    return new Map(foreign.map(({ Name, Driver }) => [Name, Driver]));
  }

  /**
   * Returns the directory of an engine with `userns-remap`, which ends with the user and the group that root
   * of its containers is on this host; undefined without. Rejects when the engine does not answer.
   */
  async remappedDirectory(signal: AbortSignal): Promise<string | undefined> {
    const client: InformedClient = await this.#docker;
    const abortSignal = AbortSignal.any([signal, AbortSignal.timeout(infoTimeoutMs)]);
    const { SecurityOptions, DockerRootDir } = infoSchema.parse(await client.info({ abortSignal }));
    return SecurityOptions?.includes('name=userns') ? DockerRootDir : undefined;
  }

  /** Resolves to undefined if there is no such container. Rejects when the engine does not answer. */
  async inspect(id: string): Promise<InspectedContainer | undefined> {
    try {
      const options = { abortSignal: AbortSignal.timeout(answerTimeoutMs) };
      const { Name, State, HostConfig, Config, Mounts } = await (await this.#docker)
        .getContainer(id)
        .inspect(options);
      const volumes = Mounts.flatMap((mount) =>
        mount.Name && this.#isOurs(mount.Driver) ? [mount.Name] : [],
      );
      return {
        name: Name.replace(/^\//, ''),
        startedAt: State.StartedAt,
        isLive: State.Running || State.Paused || State.Restarting,
        restartPolicy: HostConfig.RestartPolicy?.Name || 'no',
        labels: Config.Labels ?? {},
        volumes: [...new Set(volumes)],
      };
    } catch (error) {
      if (statusOf(error) === 404) return undefined;
      throw error;
    }
  }

  /** Runs a command in a running container. Rejects when the engine refuses or does not answer. */
  async exec(id: string, command: string, signal: AbortSignal): Promise<ExecResult> {
    return await execIn(await this.#docker, id, command, signal);
  }

  /** Lets a paused container go on. Resolves also if it is not paused. */
  async unpause(id: string): Promise<void> {
    const options = { abortSignal: AbortSignal.timeout(answerTimeoutMs) };
    try {
      await (await this.#docker).getContainer(id).unpause(options);
    } catch (error) {
      if (statusOf(error) === undefined) throw error; // Any answer: it is not paused, or has gone.
    }
  }

  /** Starts a container that is not running. Rejects with the engine's reason when it can't. */
  async start(id: string): Promise<void> {
    const options = { abortSignal: AbortSignal.timeout(startTimeoutMs) };
    await (await this.#docker).getContainer(id).start(options);
  }

  /**
   * Returns true if the driver's name may be this plugin. The name of a managed plugin has a
   * repository and a tag (`me/berth:latest`), which it can't know, so all such names count. Another
   * plugin's volume of the same name only delays the settling of ours.
   */
  #isOurs(driver: string | undefined): boolean {
    return driver === this.#driverName || (driver?.includes(':') ?? false);
  }
}

/** dockerode takes options here, but its types say nothing of them. */
interface InformedClient {
  info(options: { readonly abortSignal: AbortSignal }): Promise<unknown>;
}

const infoSchema = z.object({
  SecurityOptions: z.array(z.string()).nullish(),
  DockerRootDir: z.string(),
});

const refusalSchema = z.object({ statusCode: z.number() });

/** Returns the status of the engine's answer; undefined if it did not answer. */
function statusOf(error: unknown): number | undefined {
  return refusalSchema.safeParse(error).data?.statusCode;
}
