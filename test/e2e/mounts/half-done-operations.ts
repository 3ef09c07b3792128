import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { runBerth } from '../../support/berth-command.ts';
import { embeddedView } from '../../support/store-view.ts';
import type { BareHost } from '../hosts/bare-host.ts';
import type { Node } from '../hosts/node.ts';

export type DriverName = 'directory' | 'image';
export type BareHostNode = Node & { readonly host: BareHost };

const useId = 'a'.repeat(64);

export const operations = ['create', 'remove', 'snapshot', 'prune', 'copy', 'restore'] as const;
export type Operation = (typeof operations)[number];

const recordSchema = z.object({
  driver: z.string(),
  from: z.string().optional(),
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
    this.#base = join(node.host.directory, 'volumes', driver);
  }

  /** Makes what the operation needs. A volume for a live copy stays mounted. */
  async prepare(operation: Operation, name: string): Promise<void> {
    if (operation === 'create') return;
    await this.#create(name);
    await this.#write(name, 'first');
    if (operation === 'prune' || operation === 'restore') {
      await this.#node.ok('Snapshot', { Name: name, Snapshot: 'monday' });
      await this.#write(name, 'second');
    }
    if (isLive(operation)) await this.#node.ok('Mount', { Name: name, ID: useId });
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
      const { driver, from, snapshots } = recordSchema.parse(record);
      records.push([volume, { driver, from, snapshots: snapshots.map((each) => each.name) }]);
    }
    const content: [string, string][] = [];
    for (const [volume] of records) content.push([volume, await this.#read(volume)]);
    const files = (await namesIn(this.#base, { recursive: true })).filter(
      (path) => path.split('/')[0] === name || path.split('/')[0] === copyOf(name),
    );
    const text = JSON.stringify({
      records: records.sort(),
      content: content.sort(),
      files: files.sort(),
    });
    // A stage is named after the token of its lock.
    return JSON.parse(text.replaceAll(name, 'NAME').replaceAll(/\.stage-\d+/g, '.stage-TOKEN'));
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
        return (await this.#node.call('Create', this.#request(name))).Err;
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
    }
  }

  async #berth(command: string): Promise<string> {
    const path = this.#node.host.pathOf('/run/berth/admin.sock');
    const { exitCode, stderr } = await runBerth(command, { path });
    return exitCode === 0 ? '' : stderr;
  }

  async #create(name: string): Promise<void> {
    await this.#node.ok('Create', this.#request(name));
  }

  #request(name: string) {
    const size = this.#driver === 'image' ? { size: '32M' } : {};
    return { Name: name, Opts: { driver: this.#driver, ...size } };
  }

  async #write(name: string, content: string): Promise<void> {
    await this.#inside(name, (path) => writeFile(join(path, 'state'), content));
  }

  async #read(name: string): Promise<string> {
    return this.#inside(name, (path) => readFile(join(path, 'state'), 'utf8').catch(() => 'empty'));
  }

  async #inside<T>(name: string, look: (path: string) => Promise<T>): Promise<T> {
    const mountId = 'f'.repeat(64);
    await this.#node.ok('Mount', { Name: name, ID: mountId });
    try {
      const path = this.#node.host.pathOf(this.#node.mountpoint(name));
      await stat(path);
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

function copyOf(name: string): string {
  return `${name}-copy`;
}

/** Returns true for operations on a mounted volume; an image is frozen meanwhile. */
function isLive(operation: Operation): boolean {
  return operation === 'snapshot' || operation === 'copy';
}

/** Returns no names if the directory does not exist, as before the first volume. */
async function namesIn(
  directory: string,
  options: { recursive?: boolean } = {},
): Promise<string[]> {
  return readdir(directory, options).catch(() => []);
}
