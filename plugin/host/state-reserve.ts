import { randomFillSync } from 'node:crypto';
import { open, rm, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import createDebug from 'debug';
import { hasCode } from '../../lib/linux/error-code.ts';
import type { Condition } from '../../lib/lock/condition.ts';
import type { Clock } from '../../lib/running/clock.ts';
import { every } from '../../lib/running/every.ts';
import { messageOf } from '../../lib/running/message-of.ts';
import { SayOnce } from '../../lib/running/say-once.ts';

const log = createDebug('berth:host');

/** Enough for the embedded store and the mount table to record the removal of many volumes. */
const reserveBytes = 8 * 2 ** 20;
/** The reserve takes at most this part of the free space. */
const mostPart = 1 / 8;
const pauseMs = 60_000;
/** With less, a write of berth's own state fails now or soon. */
const fullBytes = 2 ** 20;

/**
 * Keeps some space of the file system with berth's own state, which is that of the volumes by default.
 * When a volume has filled it, berth could not even record that the volume is removed: the space is
 * given up for that, and taken again when there is room.
 */
export class StateReserve {
  readonly #directory: string;
  readonly #path: string;
  readonly #trouble = new SayOnce((text) => log('WARNING no space is reserved: %s', text));

  constructor(stateDir: string) {
    this.#directory = stateDir;
    this.#path = join(stateDir, 'reserve');
  }

  /** Keeps the reserve until the signal aborts: there may be room for it only later. */
  async run(clock: Clock, signal: AbortSignal): Promise<void> {
    for await (const _ of every(pauseMs, clock, signal)) await this.keep();
  }

  /** Makes the reserve if there is none and the file system has room for it. Never rejects. */
  async keep(): Promise<void> {
    try {
      if ((await this.#size()) === reserveBytes) return;
      if ((await this.#free()) * mostPart < reserveBytes) return;
      // Not zeros: a file system that compresses would keep no space for them.
      const block = randomFillSync(Buffer.alloc(2 ** 20));
      await using file = await open(this.#path, 'w', 0o600);
      for (let left = reserveBytes; left > 0; left -= block.length) await file.write(block);
      await file.datasync();
      this.#trouble.clear();
    } catch (error) {
      this.#trouble.say(messageOf(error));
    }
  }

  /**
   * Gives up the reserve if the file system is full. True: there was one, so there is room now. Never
   * rejects: the operation that it should help goes on without it.
   */
  async give(): Promise<boolean> {
    try {
      if ((await this.#free()) >= fullBytes || (await this.#size()) === 0) return false;
      log('WARNING the file system of %s is full: its reserve is given up', this.#directory);
      await rm(this.#path, { force: true });
      return true;
    } catch (error) {
      this.#trouble.say(messageOf(error));
      return false;
    }
  }

  /** Says that the file system of the state is full, or can't be measured. */
  async conditions(): Promise<Condition[]> {
    let free: number;
    try {
      free = await this.#free();
    } catch (error) {
      return [unmeasured(this.#directory, messageOf(error))];
    }
    if (free >= fullBytes) return [];
    const text = `the file system of the state directory ${this.#directory} is full`;
    const message =
      `${text}: remove files, snapshots or volumes. Unmounts and removals still succeed, and new ` +
      'Creates and Mounts fail. A volume directory on a file system of its own avoids it';
    return [{ severity: 'error', message }];
  }

  /**
   * Returns the free bytes; 0 if no inode is free. What ext4 keeps for root does not count: root may have
   * used it, and a part of what ext4 shows as free (2 %) nobody can use.
   */
  async #free(): Promise<number> {
    const { bavail, bsize, files, ffree } = await statfs(this.#directory);
    return files > 0 && ffree === 0 ? 0 : bavail * bsize;
  }

  async #size(): Promise<number> {
    try {
      return (await stat(this.#path)).size;
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return 0;
      throw error;
    }
  }
}

function unmeasured(directory: string, why: string): Condition {
  const text = `the free space of the state directory ${directory} can't be measured`;
  const message = `${text} (${why}): repair its file system, because berth can't record a Mount there`;
  return { severity: 'error', message };
}
