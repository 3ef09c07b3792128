import { mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { EngineNode } from '../e2e/hosts/cluster.ts';
import type { EngineApi } from '../support/engine-api.ts';
import { engineApi } from '../support/engine-api.ts';

/** How long a container writes before it ends, so that another host can get the volume. */
const turnSeconds = 20;
const repeatMs = 200;
const askPollMs = 50;

/**
 * Appends records as fast as possible; a record is acknowledged when its flush has ended. The
 * script can't know the token of the lock under which its volume is mounted, so it asks the test at
 * each start.
 */
const script = `
read start < /proc/sys/kernel/random/uuid
echo $start > /ctl/asks
until [ -e /ctl/token.$start ]; do sleep 0.02; done
read token < /ctl/token.$start
read began rest < /proc/uptime
counter=0
while :; do
  counter=$((counter + 1))
  read now rest < /proc/uptime
  [ $((\${now%.*} - \${began%.*})) -lt ${turnSeconds} ] || exit 0
  record="$HOST $token $start $counter $now"
  echo "$record" >> /data/records || exit 1
  sync /data/records || exit 1
  echo "$record" >> /ctl/acknowledged
done`;

/** A container on one host that writes to a volume, and the loop that starts it again. */
export class WriterContainer {
  readonly node: EngineNode;
  readonly volume: string;
  /** The errors of the engine at failed starts, with the count of each text. */
  readonly refusals = new Map<string, number>();
  readonly #name: string;
  readonly #directory: string;
  readonly #engine: EngineApi;
  readonly #stopping = new AbortController();
  #running: Promise<unknown> | undefined;

  private constructor(node: EngineNode, volume: string, directory: string) {
    this.node = node;
    this.volume = volume;
    this.#name = `writer-${volume}`;
    this.#directory = directory;
    this.#engine = engineApi(node.host);
  }

  static async create(node: EngineNode, volume: string): Promise<WriterContainer> {
    const directory = join(node.host.directory, `control-${volume}`);
    await mkdir(directory);
    const writer = new WriterContainer(node, volume, directory);
    await node.dockerOk(
      ...['create', '--name', writer.#name, '--stop-timeout', '0', '--cpus', '0.3'],
      ...['-e', `HOST=${node.name}`, '-v', `${volume}:/data`, '-v', `${directory}:/ctl`],
      ...['busybox', 'sh', '-c', script],
    );
    return writer;
  }

  /** Starts it again whenever its host can get the volume, until `end`. */
  begin(): void {
    this.#running = Promise.all([this.#keepStarting(), this.#answerAsks()]);
    // The caller of `end` gets the error.
    this.#running.catch(() => {});
  }

  /** Ends the starts and removes the container, and with it this host's use of the volume. */
  async end(): Promise<void> {
    this.#stopping.abort();
    await this.#engine.call('DELETE', `/containers/${this.#name}?force=1`);
    await this.#running;
    this.#engine[Symbol.dispose]();
  }

  /** Kills, stops or restarts the container; false when the engine refuses, as it may not run. */
  async suffer(what: 'kill' | 'stop' | 'restart'): Promise<boolean> {
    return this.#engine.call('POST', `/containers/${this.#name}/${what}`).then(
      () => true,
      () => false,
    );
  }

  /** Returns the time of its last acknowledged record; 0 when there is none. */
  async lastAcknowledgedMs(): Promise<number> {
    const path = join(this.#directory, 'acknowledged');
    return stat(path).then(
      ({ mtimeMs }) => mtimeMs,
      () => 0,
    );
  }

  async acknowledged(): Promise<string[]> {
    return (await this.#read('acknowledged')).split('\n').filter((line) => line !== '');
  }

  async #keepStarting(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      try {
        await this.#engine.call('POST', `/containers/${this.#name}/start`);
      } catch (error) {
        // Another host has the volume, or something is broken, which this test expects.
        const text = String(error).replaceAll(/[0-9a-f]{12,}|\d{2,}/g, '#');
        this.refusals.set(text, (this.refusals.get(text) ?? 0) + 1);
      }
      await pause(repeatMs);
    }
  }

  async #answerAsks(): Promise<void> {
    let answered = '';
    while (!this.#stopping.signal.aborted) {
      await pause(askPollMs);
      const start = (await this.#read('asks')).trim();
      if (start === '' || start === answered) continue;
      // The container runs, so the daemon has logged its mount; the line arrives during this pause.
      await pause(askPollMs);
      const token = this.#lastToken();
      if (token === undefined) continue;
      const path = join(this.#directory, `token.${start}`);
      await writeFile(`${path}.new`, `${token}\n`);
      await rename(`${path}.new`, path);
      answered = start;
    }
  }

  /** Returns the token of the lock under which the daemon mounted the volume last. */
  #lastToken(): string | undefined {
    const line = new RegExp(`mounted volume=${this.volume} token=(\\d+) `, 'g');
    return [...this.node.daemon.log().matchAll(line)].at(-1)?.[1];
  }

  #read(name: string): Promise<string> {
    return readFile(join(this.#directory, name), 'utf8').catch(() => '');
  }
}
