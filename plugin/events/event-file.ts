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
 * Events as lines of JSON, in a file in which they outlive this process. A file that is large enough
 * is kept as `<path>.old`, and the one before it goes. What can't be written is in memory only, and
 * is tried again with the next event.
 */
export class EventFile implements AsyncDisposable {
  readonly #path: string;
  readonly #limitBytes: number;
  /** The file may end in the middle of a line: a process was killed, or the disk is full. */
  #isTorn = true;
  #waiting: LoggedEvent[] = [];
  readonly #writing = new LatestOnly(() => this.#write());
  readonly #trouble = new SayOnce((text) => log('ERROR events are in memory only: %s', text));

  constructor(path: string, { limitBytes = defaultLimitBytes } = {}) {
    this.#path = path;
    this.#limitBytes = limitBytes;
  }

  /** What there is, oldest first. Lines that are no events are passed over. */
  async read(): Promise<LoggedEvent[]> {
    const texts = [await readText(oldOf(this.#path)), await readText(this.#path)];
    let last = 0;
    return texts
      .flatMap((text) => text.split('\n').flatMap(parseLine))
      .filter(({ number }) => {
        // A line is there twice when it was written, but not the one after it.
        if (number <= last) return false;
        last = number;
        return true;
      });
  }

  /** Never throws, and never waits. */
  append(event: LoggedEvent): void {
    this.#waiting.push(event);
    if (this.#waiting.length > keptEvents) this.#waiting.shift();
    void this.#writing.run();
  }

  /** Waits for what is being written. */
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

/** What can't be read is no reason not to serve. */
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
    log('passing over %s: %s', line, error);
    return [];
  }
}
