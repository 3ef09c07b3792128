import { appendFile } from 'node:fs/promises';
import { basename } from 'node:path';
import createDebug from 'debug';
import { bootId } from '../../../linux/boot.ts';
import { readIfThere } from '../../../linux/state-file.ts';
import { messageOf } from '../../../running/message-of.ts';

const log = createDebug('berth:driver');

/**
 * Knows the devices whose file system was shut down although a process still has files open in it. They
 * write nothing any more, and are known by the number that the kernel gives to each new attachment.
 *
 * The numbers are kept in a file of this host, one line `BOOT NUMBER` each: another storage worker, or the
 * next daemon, would else wait for such a device for ever. After a crash before the line is written, the
 * device counts as alive, and the volume is refused until the process has ended.
 */
export class DeadDevices {
  readonly #path: string | undefined;
  readonly #sequences = new Set<string>();

  /** Makes the knowledge that of this process alone if there is no path. */
  constructor(path?: string) {
    this.#path = path;
  }

  /** Adds devices. Never rejects because of the file. */
  async add(devices: readonly string[]): Promise<void> {
    const found = await Promise.all(devices.map(sequenceOf));
    const sequences = found.filter((sequence) => sequence !== undefined);
    for (const sequence of sequences) this.#sequences.add(sequence);
    if (this.#path === undefined || sequences.length === 0) return;
    const boot = bootId();
    const lines = sequences.map((sequence) => `${boot} ${sequence}\n`).join('');
    await appendFile(this.#path, lines, { mode: 0o600 }).catch((error) => {
      log('%s can not be written: %s', this.#path, messageOf(error));
    });
  }

  /** Leaves out the devices that are dead. */
  async without(devices: readonly string[]): Promise<string[]> {
    if (devices.length === 0) return [];
    await this.#read();
    if (this.#sequences.size === 0) return [...devices];
    const sequences = await Promise.all(devices.map(sequenceOf));
    return devices.filter((_, index) => !this.#sequences.has(sequences[index] ?? ''));
  }

  /** Reads what other processes of this host have added in this boot. */
  async #read(): Promise<void> {
    if (this.#path === undefined) return;
    const boot = bootId();
    for (const line of ((await readIfThere(this.#path)) ?? '').split('\n')) {
      const [addedIn, sequence = ''] = line.split(' ');
      if (addedIn === boot) this.#sequences.add(sequence);
    }
  }
}

/** Undefined on a kernel before 5.15, which does not number attachments. */
function sequenceOf(device: string): Promise<string | undefined> {
  return readIfThere(`/sys/block/${basename(device)}/diskseq`);
}
