import { readdir, readFile, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { runBerth } from '../../support/berth-command.ts';
import { embeddedView } from '../../support/store-view.ts';
import type { BareHost } from '../hosts/bare-host.ts';
import type { Node } from '../hosts/node.ts';

export type DriverName = 'directory' | 'image' | 'tmpfs';
export type BareHostNode = Node & { readonly host: BareHost };

const useId = 'a'.repeat(64);

/** The operations of volumes with content of their own on a disk. */
export const operations = [
  ...(['create', 'remove', 'snapshot', 'prune', 'copy', 'restore'] as const),
  ...(['rename', 'set'] as const),
];
/** `grow` makes a volume larger that stays mounted meanwhile. */
export type Operation = (typeof operations)[number] | 'resize' | 'grow';

const recordSchema = z.object({
  driver: z.string(),
  from: z.string().optional(),
  options: z.object({ size: z.string().optional() }),
  protect: z.boolean().optional(),
  snapshots: z.array(z.object({ name: z.string() })),
});

/** The operations that a crash may interrupt, each on its own volume, and their results. */
export class HalfDone {
  readonly #node: BareHostNode;
  readonly #driver: DriverName;
  readonly #base: string;

  constructor(node: BareHostNode, driver: DriverName) {
    this.#node = node;
    this.#driver = driver;
    this.#base = join(node.host.directory, driver === 'tmpfs' ? 'berth' : 'volumes', driver);
  }

  /** Makes what the operation needs. A volume for a live copy stays mounted. */
  async prepare(operation: Operation, name: string): Promise<void> {
    if (operation === 'create') return;
    await this.#node.ok('Create', this.#request(name, operation));
    await this.#write(name, 'first');
    if (withSnapshot.includes(operation) && this.#driver !== 'tmpfs') {
      await this.#node.ok('Snapshot', { Name: name, Snapshot: 'monday' });
      await this.#write(name, 'second');
    }
    if (isLive(operation)) await this.#node.ok('Mount', { Name: name, ID: useId });
  }

  /** Attempts the operation; returns why it was refused, or an empty text. */
  attempt(operation: Operation, name: string): Promise<string> {
    return this.#try(operation, name);
  }

  /** Begins the operation without waiting for its answer. */
  begin(operation: Operation, name: string): void {
    void this.run(operation, name).catch(() => {
      // The daemon was killed.
    });
  }

  /** Runs the operation, or finds that it is already done; rejects when it fails. */
  async run(operation: Operation, name: string): Promise<void> {
    const refusal = await this.#try(operation, name);
    if (refusal !== '' && !isDone.test(refusal)) throw new Error(`${operation}: ${refusal}`);
  }

  /**
   * Checks that containers can write to the mounted volume: they could not if it were still frozen.
   */
  async goesOn(operation: Operation, name: string): Promise<void> {
    if (!isLive(operation)) return;
    const file = join(this.#node.mountpoint(name), 'state');
    await this.#node.host.execOk('timeout', '5', 'touch', '-c', file);
  }

  /** Unmounts the volume that was mounted for the operation. */
  async end(operation: Operation, name: string): Promise<void> {
    if (isLive(operation)) await this.#node.ok('Unmount', { Name: name, ID: useId });
  }

  /** Returns records, storage and content of a volume and its copy, with its name replaced. */
  async state(name: string): Promise<unknown> {
    const view = embeddedView(join(this.#node.host.directory, 'berth/berth.db'));
    const records: [string, unknown][] = [];
    for (const [volume, record] of Object.entries(await view.records())) {
      if (volume !== name && volume !== copyOf(name)) continue;
      const { snapshots, ...rest } = recordSchema.parse(record);
      records.push([volume, { ...rest, snapshots: snapshots.map((each) => each.name) }]);
    }
    const content: [string, string][] = [];
    for (const [volume] of records) content.push([volume, await this.#read(volume)]);
    const files: string[] = [];
    for (const home of [name, copyOf(name)]) {
      const inside = await namesIn(join(this.#base, home), { recursive: true });
      files.push(...inside.map((path) => join(home, path)));
    }
    const text = JSON.stringify({
      records: records.sort(),
      content: content.sort(),
      files: files.sort(),
    });
    // A stage is named after the token of its lock.
    return JSON.parse(
      text.replaceAll(name, 'NAME').replaceAll(/\.stage-\d+(\.[0-9a-f]+)?/g, '.stage-TOKEN'),
    );
  }

  /** Returns temporary files of operations that were not completed. */
  async leftovers(): Promise<string[]> {
    return (await namesIn(this.#base)).filter((name) => name.startsWith('.tmp'));
  }

  async doctor(flags: string) {
    const path = this.#node.host.pathOf('/run/berth/admin.sock');
    const { exitCode, stdout, stderr } = await runBerth(`doctor --json ${flags}`.trim(), { path });
    if (stdout === '') throw new Error(stderr);
    return { exitCode, findings: findingsSchema.parse(JSON.parse(stdout)).findings };
  }

  async #try(operation: Operation, name: string): Promise<string> {
    switch (operation) {
      case 'create':
        return (await this.#node.call('Create', this.#request(name, operation))).Err;
      case 'remove':
        return (await this.#node.call('Remove', { Name: name })).Err;
      case 'snapshot':
        return (await this.#node.call('Snapshot', { Name: name, Snapshot: 'monday' })).Err;
      case 'copy':
        return (await this.#node.call('Copy', { Name: name, Target: copyOf(name) })).Err;
      case 'prune':
        return this.#berth(`snapshot rm ${name}@monday`);
      case 'restore':
        return this.#berth(`snapshot restore ${name}@monday`);
      case 'rename':
        return this.#berth(`volume rename ${name} ${copyOf(name)}`);
      case 'set':
        return this.#berth(`volume set ${name} protect=yes`);
      case 'grow':
        return this.#berth(`volume resize ${name} ${this.#driver === 'image' ? '320M' : '48M'}`);
      case 'resize': {
        const refusal = await this.#berth(`volume resize ${name} 48M`);
        if (refusal !== '') return refusal;
        const use = { Name: name, ID: useId }; // Its file system grows with the next Mount.
        const { Err } = await this.#node.call('Mount', use);
        return Err === '' ? (await this.#node.call('Unmount', use)).Err : Err;
      }
    }
  }

  async #berth(command: string): Promise<string> {
    const path = this.#node.host.pathOf('/run/berth/admin.sock');
    const { exitCode, stderr } = await runBerth(command, { path });
    return exitCode === 0 ? '' : stderr;
  }

  #request(name: string, operation: Operation) {
    // The test reads a mounted volume by a Mount of its own.
    const image = { size: '32M', access: 'host' };
    // A mounted ext4 needs CAP_SYS_RESOURCE, which not every machine has.
    const growing = { fs: 'xfs', size: '300M', access: 'host' };
    const options = {
      ...{
        directory: {},
        image: operation === 'grow' ? growing : image,
        tmpfs: { size: '4M' },
      }[this.#driver],
    };
    return { Name: name, Opts: { driver: this.#driver, ...options } };
  }

  async #write(name: string, content: string): Promise<void> {
    await this.#inside(name, (path) => writeFile(join(path, 'state'), content));
  }

  async #read(name: string): Promise<string> {
    return this.#inside(name, async (path) => {
      const text = await readFile(join(path, 'state'), 'utf8').catch(() => 'empty');
      if (this.#driver === 'directory') return text;
      const { blocks, bsize } = await statfs(path);
      return `${text}, a file system of ${blocks * bsize} bytes`;
    });
  }

  async #inside<T>(name: string, look: (path: string) => Promise<T>): Promise<T> {
    const mountId = 'f'.repeat(64);
    await this.#node.ok('Mount', { Name: name, ID: mountId });
    try {
      const path = this.#node.host.pathOf(this.#node.mountpoint(name));
      return await look(path);
    } finally {
      await this.#node.ok('Unmount', { Name: name, ID: mountId });
    }
  }
}

const isDone = /no such volume|exists already|has a snapshot monday already|has no snapshot monday/;

const findingsSchema = z.object({
  findings: z.array(z.object({ kind: z.string(), what: z.string(), state: z.string() }).loose()),
});

/** The operations on a volume with a snapshot. */
const withSnapshot: readonly Operation[] = ['prune', 'restore', 'rename'];

/** Returns the name of a volume's copy, and of the volume after a rename. */
function copyOf(name: string): string {
  return `${name}-copy`;
}

/** Returns true for operations on a mounted volume; an image is frozen while it is copied. */
function isLive(operation: Operation): boolean {
  return operation === 'snapshot' || operation === 'copy' || operation === 'grow';
}

/** Returns no names if the directory does not exist, as before the first volume. */
async function namesIn(
  directory: string,
  options: { recursive?: boolean } = {},
): Promise<string[]> {
  return readdir(directory, options).catch(() => []);
}
