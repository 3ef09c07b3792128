import createDebug from 'debug';
import { z } from 'zod';
import { readIfThere, replaceFile } from '../../lib/linux/state-file.ts';
import { diskProblem } from '../../lib/running/disk-problem.ts';
import { LatestOnly } from '../../lib/running/latest-only.ts';
import { SayOnce } from '../../lib/running/say-once.ts';

const log = createDebug('berth:engine');

const endedSchema = z.object({
  /** The engine's ID. */
  id: z.string(),
  /** A volume because of which the container was ended; the container may use further ones. */
  volume: z.string(),
  /** When the sentinel ended it (RFC 3339). */
  endedAt: z.string(),
  /**
   * The engine's first answer about the container after its end, if its restart policy asked for
   * another start. `startedAt` names the run that was ended.
   */
  seen: z.object({ name: z.string(), startedAt: z.string() }).optional(),
});

/** A container that the sentinel ended, and that may have to be started again. */
export type EndedContainer = z.infer<typeof endedSchema>;

/** A reader of another release ignores the file, and its containers stay ended. */
const fileSchema = z.object({ version: z.literal(1), containers: z.array(endedSchema) });

/**
 * The containers that the sentinel ended on this host, over restarts of the daemon: in a small file
 * that is replaced at each change. A change that can't be written stays in memory and is written with
 * the next one.
 */
export class EndedContainers {
  readonly #path: string;
  readonly #containers: Map<string, EndedContainer>;
  readonly #trouble = new SayOnce((text) => log('ERROR %s', text));
  readonly #writing = new LatestOnly(() => this.#write());

  private constructor(path: string, containers: readonly EndedContainer[]) {
    this.#path = path;
    this.#containers = new Map(containers.map((container) => [container.id, container]));
  }

  /** Reads the file. A file that can't be read costs a restart or two, not the daemon's start. */
  static async open(path: string): Promise<EndedContainers> {
    try {
      const text = await readIfThere(path);
      const { containers } = fileSchema.parse(
        text === undefined ? { version: 1, containers: [] } : JSON.parse(text),
      );
      return new EndedContainers(path, containers);
    } catch (error) {
      log('ERROR ignoring %s; its containers are not started again: %s', path, error);
      return new EndedContainers(path, []);
    }
  }

  all(): readonly EndedContainer[] {
    return [...this.#containers.values()];
  }

  get(id: string): EndedContainer | undefined {
    return this.#containers.get(id);
  }

  /** Adds a container that has just been ended. On disk when this resolves. May be repeated. */
  async add({ id, volume, endedAt }: EndedContainer): Promise<void> {
    const known = this.#containers.get(id);
    // A container is ended once for each of its volumes; a later end may be that of another run.
    if (!known || known.endedAt < endedAt) await this.put({ id, volume, endedAt });
  }

  /** Adds or replaces a container. On disk when this resolves, if the disk can be written. */
  async put(container: EndedContainer): Promise<void> {
    this.#containers.set(container.id, container);
    await this.#writing.run();
  }

  async remove(id: string): Promise<void> {
    if (this.#containers.delete(id)) await this.#writing.run();
  }

  async clear(): Promise<void> {
    if (this.#containers.size === 0) return;
    this.#containers.clear();
    await this.#writing.run();
  }

  async #write(): Promise<void> {
    const file: z.infer<typeof fileSchema> = { version: 1, containers: [...this.all()] };
    try {
      await replaceFile(this.#path, `${JSON.stringify(file)}\n`);
      this.#trouble.clear();
    } catch (error) {
      const what = 'the containers to start again can not be written down';
      this.#trouble.say(`${what}: ${diskProblem(error)}`);
    }
  }
}
