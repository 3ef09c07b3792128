import { open, readFile, rename, stat } from 'node:fs/promises';
import createDebug from 'debug';
import { z } from 'zod';
import { hasCode } from '../../lib/linux/error-code.ts';
import { LatestOnly } from '../../lib/running/latest-only.ts';
import { messageOf } from '../../lib/running/message-of.ts';
import { SayOnce } from '../../lib/running/say-once.ts';
import type { LoggedEvent } from './event-log.ts';
import { keptEvents } from './event-log.ts';

const log = createDebug('berth:event');

const defaultLimitBytes = 1_000_000;

const eventSchema = z.object({
  number: z.int().positive(),
  time: z.string(),
  severity: z.enum(['info', 'warning', 'error']),
  kind: z.string(),
  volume: z.string(),
  message: z.string(),
  token: z.number().exactOptional(),
});

/**
 * Keeps events as lines of JSON in a file, over restarts of the daemon. A file that has reached its
 * limit is renamed to `<path>.old`, which replaces the one before. Events that can't be written stay
 * in memory; the next event tries again.
 */
export class EventFile implements AsyncDisposable {
  readonly #path: string;
  readonly #limitBytes: number;
  /** True if the file may end in the middle of a line: a process was killed, or a disk was full. */
  #isTorn = true;
  #waiting: LoggedEvent[] = [];
  readonly #writing = new LatestOnly(() => this.#write());
  readonly #trouble = new SayOnce((text) => log('ERROR events are in memory only: %s', text));

  constructor(path: string, { limitBytes = defaultLimitBytes } = {}) {
    this.#path = path;
    this.#limitBytes = limitBytes;
  }

  /** Reads the kept events, oldest first. Skips lines that are no events. */
  async read(): Promise<LoggedEvent[]> {
    const texts = [await readText(oldOf(this.#path)), await readText(this.#path)];
    let last = 0;
    return texts
      .flatMap((text) => text.split('\n').flatMap(parseLine))
      .filter(({ number }) => {
        // A write that failed after some lines is repeated, so lines may occur twice.
        if (number <= last) return false;
        last = number;
        return true;
      });
  }

  /** Queues an event to be written. Never throws, and never waits. */
  append(event: LoggedEvent): void {
    this.#waiting.push(event);
    if (this.#waiting.length > keptEvents) this.#waiting.shift();
    void this.#writing.run();
  }

  /** Waits for the write in progress. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writing.idle();
  }

  async #write(): Promise<void> {
    const batch = this.#waiting.splice(0);
    if (batch.length === 0) return;
    try {
      await this.#appendText(batch.map((event) => `${JSON.stringify(event)}\n`).join(''));
      this.#trouble.clear();
    } catch (error) {
      this.#trouble.say(messageOf(error));
      this.#waiting = [...batch, ...this.#waiting].slice(-keptEvents);
    }
  }

  async #appendText(lines: string): Promise<void> {
    if ((await sizeOf(this.#path)) >= this.#limitBytes) {
      await rename(this.#path, oldOf(this.#path));
    }
    await using file = await open(this.#path, 'a', 0o600);
    const text = this.#isTorn ? `\n${lines}` : lines;
    this.#isTorn = true;
    await file.appendFile(text);
    await file.datasync();
    this.#isTorn = false;
  }
}

function oldOf(path: string): string {
  return `${path}.old`;
}

async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return 0;
    throw error;
  }
}

/** Reads a file; empty if that fails: the daemon serves without its old events. */
async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) log('ERROR %s', error);
    return '';
  }
}

function parseLine(line: string): LoggedEvent[] {
  if (line === '') return [];
  try {
    return [eventSchema.parse(JSON.parse(line))];
  } catch (error) {
    log('skipping %s: %s', line, error);
    return [];
  }
}
