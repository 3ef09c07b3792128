import type { IncomingMessage } from 'node:http';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { z } from 'zod';
import { callUnixSocket } from '../../lib/linux/unix-call.ts';
import type { InspectedContainer } from './restart-verdict.ts';

/** States in which a container has its volumes mounted. */
const liveStates = ['running', 'paused', 'restarting'];

const answerTimeoutMs = 10_000;
/** A start waits for the Mounts of all its volumes, for up to 120 s each. */
const startTimeoutMs = 300_000;

/** How containers use a volume: `live` if one of them runs, `created` if all were only created. */
export type VolumeUse = 'live' | 'created';

/** The engine answered with an error. */
class EngineError extends Error {
  override readonly name = 'EngineError';
  readonly status: number;
  constructor(status: number, reason: string) {
    super(`the engine answers ${status}: ${reason}`);
    this.status = status;
  }
}

/**
 * berth's questions to the Docker engine, over its HTTP API (docs.docker.com/reference/api/engine).
 * They do without dockerode, which loads an SSH and a gRPC client: 15 MB and 0.2 s of each start.
 */
export class Engine {
  readonly #socketPath: string;
  readonly #driverName: string;

  /** `driverName` is the plugin's name, as the engine shows it for the volumes of this daemon. */
  constructor(socketPath: string, driverName: string) {
    this.#socketPath = socketPath;
    this.#driverName = driverName;
  }

  /**
   * Returns the volumes of this plugin that containers use. Ignores a dead container, although it
   * may be about to start. Rejects when the engine does not answer.
   */
  async volumesInUse(signal: AbortSignal): Promise<ReadonlyMap<string, VolumeUse>> {
    const filters = JSON.stringify({ status: ['created', ...liveStates] });
    const answer = await this.#ask(
      `/containers/json?all=true&filters=${encodeURIComponent(filters)}`,
      AbortSignal.any([signal, AbortSignal.timeout(answerTimeoutMs)]),
    );
    const uses = new Map<string, VolumeUse>();
    for (const { State, Mounts } of listSchema.parse(answer)) {
      for (const { Driver, Name } of Mounts) {
        if (!Name || !this.#isOurs(Driver)) continue;
        if (State !== 'created') uses.set(Name, 'live');
        else if (!uses.has(Name)) uses.set(Name, 'created');
      }
    }
    return uses;
  }

  /** Yields once the engine sends events, and at each end of a container. Ends with the engine. */
  async *news(signal: AbortSignal): AsyncGenerator<'listens' | 'container ended', void> {
    const filters = JSON.stringify({ type: ['container'], event: ['die', 'destroy'] });
    const stream = await this.#call(
      'GET',
      `/events?filters=${encodeURIComponent(filters)}`,
      signal,
    );
    yield 'listens';
    for await (const _event of createInterface({ input: stream })) yield 'container ended';
  }

  /**
   * Asks the engine to list its volumes: for that it looks for plugins and activates new ones.
   * Rejects when the engine does not answer, or when the signal aborts.
   */
  async meetPlugins(signal: AbortSignal): Promise<void> {
    await this.#ask('/volumes', signal);
  }

  /** Resolves to undefined if there is no such container. Rejects when the engine does not answer. */
  async inspect(id: string): Promise<InspectedContainer | undefined> {
    try {
      const signal = AbortSignal.timeout(answerTimeoutMs);
      const answer = await this.#ask(`/containers/${encodeURIComponent(id)}/json`, signal);
      const { Name, State, HostConfig, Config, Mounts } = containerSchema.parse(answer);
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
      if (error instanceof EngineError && error.status === 404) return undefined;
      throw error;
    }
  }

  /** Lets a paused container go on. Resolves also if it is not paused. */
  async unpause(id: string): Promise<void> {
    try {
      await this.#tell(id, 'unpause', answerTimeoutMs);
    } catch (error) {
      if (!(error instanceof EngineError)) throw error; // Any answer: it is not paused, or has gone.
    }
  }

  /** Starts a container that is not running. Rejects with the engine's reason when it can't. */
  async start(id: string): Promise<void> {
    await this.#tell(id, 'start', startTimeoutMs);
  }

  async #ask(path: string, signal: AbortSignal): Promise<unknown> {
    return JSON.parse(await text(await this.#call('GET', path, signal)));
  }

  async #tell(id: string, what: 'start' | 'unpause', limitMs: number): Promise<void> {
    const path = `/containers/${encodeURIComponent(id)}/${what}`;
    await text(await this.#call('POST', path, AbortSignal.timeout(limitMs)));
  }

  /** Resolves to the response. Rejects EngineError when the engine answers with an error. */
  async #call(method: string, path: string, signal: AbortSignal): Promise<IncomingMessage> {
    const response = await callUnixSocket({
      ...{ socketPath: this.#socketPath, method, path, signal, agent: false },
      headers: { Host: 'docker' },
    });
    const status = response.statusCode ?? 0;
    if (status >= 400) throw new EngineError(status, reasonOf(await text(response)));
    return response;
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

const mountsSchema = z.array(
  z.object({ Name: z.string().optional(), Driver: z.string().optional() }),
);

const listSchema = z.array(z.object({ State: z.string(), Mounts: mountsSchema }));

const containerSchema = z.object({
  Name: z.string(),
  State: z.object({
    StartedAt: z.string(),
    Running: z.boolean(),
    Paused: z.boolean(),
    Restarting: z.boolean(),
  }),
  HostConfig: z.object({ RestartPolicy: z.object({ Name: z.string() }).nullish() }),
  Config: z.object({ Labels: z.record(z.string(), z.string()).nullish() }),
  Mounts: mountsSchema,
});

const refusalSchema = z.object({ message: z.string() });

/** The reason in the engine's answer, which is JSON unless something else than an engine answers. */
function reasonOf(body: string): string {
  try {
    return refusalSchema.parse(JSON.parse(body)).message;
  } catch {
    return body.trim();
  }
}
