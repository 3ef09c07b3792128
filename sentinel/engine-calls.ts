import { text } from 'node:stream/consumers';
import { z } from 'zod';
import { callUnixSocket } from '../lib/linux/unix-call.ts';
import type { EngineCalls, InspectedContainer } from './ports.ts';

/** The engine answered with an error. */
export class EngineRefusalError extends Error {
  override readonly name = 'EngineRefusalError';
  readonly status: number;
  constructor(status: number, message: string) {
    super(`the engine answers ${status}: ${message.trim()}`);
    this.status = status;
  }
}

const inspectedSchema = z.object({
  Name: z.string(),
  State: z.object({ Paused: z.boolean(), Running: z.boolean() }),
});

/**
 * The few calls to the Docker engine that the sentinel needs. Each has a time limit, because an
 * engine may hang. They do without dockerode: the sentinel must stay small, as it waits for years
 * and then has to act within a second.
 */
export class DockerCalls implements EngineCalls {
  readonly #socketPath: string;

  constructor(socketPath: string) {
    this.#socketPath = socketPath;
  }

  async inspect(id: string, limitMs: number): Promise<InspectedContainer | undefined> {
    try {
      const answer = await this.#call('GET', `/containers/${id}/json`, limitMs);
      const { Name, State } = inspectedSchema.parse(JSON.parse(answer));
      return { name: Name.slice(1), isPaused: State.Paused, isRunning: State.Running };
    } catch (error) {
      if (error instanceof EngineRefusalError && error.status === 404) return undefined;
      throw error;
    }
  }

  async pause(id: string, limitMs: number): Promise<void> {
    await this.#call('POST', `/containers/${id}/pause`, limitMs);
  }

  async unpause(id: string, limitMs: number): Promise<void> {
    await this.#call('POST', `/containers/${id}/unpause`, limitMs);
  }

  async kill(id: string, limitMs: number): Promise<void> {
    await this.#call('POST', `/containers/${id}/kill?signal=KILL`, limitMs);
  }

  async stop(id: string, graceMs: number): Promise<void> {
    const seconds = Math.ceil(graceMs / 1000);
    await this.#call('POST', `/containers/${id}/stop?t=${seconds}`, graceMs + 1_000);
  }

  async #call(method: string, path: string, limitMs: number): Promise<string> {
    const response = await callUnixSocket({
      ...{ socketPath: this.#socketPath, method, path, headers: { Host: 'docker' } },
      signal: AbortSignal.timeout(Math.max(1, limitMs)),
    });
    const body = await text(response);
    const status = response.statusCode ?? 0;
    if (status >= 400) throw new EngineRefusalError(status, body);
    return body;
  }
}
