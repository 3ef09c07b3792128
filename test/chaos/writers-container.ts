import { mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { EngineNode } from '../e2e/hosts/cluster.ts';
import type { EngineApi } from '../support/engine-api.ts';
import { engineApi } from '../support/engine-api.ts';

/** So long it writes before it makes room for another host. */
const tenureSeconds = 20;
const repeatMs = 200;
const askPollMs = 50;

/**
 * Appends records as fast as it can; one is acknowledged when its flush has ended. It can't know the
 * token of the lock under which its volume is mounted, so it asks the test, each time it starts.
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
  [ $((\${now%.*} - \${began%.*})) -lt ${tenureSeconds} ] || exit 0
  record="$HOST $token $start $counter $now"
  echo "$record" >> /data/records || exit 1
  sync /data/records || exit 1
  echo "$record" >> /ctl/acknowledged
done`;

/** A container on one host that writes to a volume, and whoever starts it again when it has ended. */
export class WriterContainer {
  readonly node: EngineNode;
  readonly volume: string;
  /** What the engine said when it could not start it: how often by text. */
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

  /** Keeps it running whenever its host gets the volume, until `end`. */
  begin(): void {
    this.#running = Promise.all([this.#keepStarting(), this.#answerAsks()]);
    // Whoever calls `end` hears of it.
    this.#running.catch(() => {});
  }

  /** No more starts; the container ends, and with it this host's use of the volume. */
  async end(): Promise<void> {
    this.#stopping.abort();
    await this.#engine.call('DELETE', `/containers/${this.#name}?force=1`);
    await this.#running;
    this.#engine[Symbol.dispose]();
  }

  /** False when the engine refuses: it does not run everywhere all the time. */
  async suffer(what: 'kill' | 'stop' | 'restart'): Promise<boolean> {
    return this.#engine.call('POST', `/containers/${this.#name}/${what}`).then(
      () => true,
      () => false,
    );
  }

  /** When it last had a record acknowledged; 0: never. */
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
        // Another host has the volume, or something is broken: just what the test is about.
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
      // The container runs, so its mount has been logged; that line gets here meanwhile.
      await pause(askPollMs);
      const token = this.#lastToken();
      if (token === undefined) continue;
      const path = join(this.#directory, `token.${start}`);
      await writeFile(`${path}.new`, `${token}\n`);
      await rename(`${path}.new`, path);
      answered = start;
    }
  }

  /** Of the lock under which the daemon mounted the volume last, whatever has become of it since. */
  #lastToken(): string | undefined {
    const line = new RegExp(`mounted volume=${this.volume} token=(\\d+) `, 'g');
    return [...this.node.daemon.log().matchAll(line)].at(-1)?.[1];
  }

  #read(name: string): Promise<string> {
    return readFile(join(this.#directory, name), 'utf8').catch(() => '');
  }
}
