import { glob, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach } from '@jest/globals';
import { z } from 'zod';
import type { Berth, BerthOptions } from './berth.ts';
import { startBerth } from './berth.ts';
import type { ControlGroups } from './control-groups.ts';
import { engineApi } from './engine-api.ts';
import { startEtcd } from './etcd-server.ts';
import type { Host } from './host.ts';
import { lingering, startHost } from './host.ts';
import type { PluginAnswer } from './plugin-call.ts';
import { callPlugin } from './plugin-call.ts';
import { waitFor } from './processes.ts';
import type { RecordingProxy } from './recording-proxy.ts';
import { startRecordingProxy } from './recording-proxy.ts';
import type { Requirement } from './requirements.ts';
import { describeWith } from './requirements.ts';
import type { StoreView } from './store-view.ts';
import { embeddedView, etcdView } from './store-view.ts';
import type { DockerVersion } from './tools.ts';

export interface Variant {
  readonly docker: DockerVersion;
  readonly store: 'embedded' | 'etcd';
  /** 1 by default. */
  readonly controlGroups?: ControlGroups;
  /** True: the engine runs with `userns-remap`. */
  readonly isRemapped?: boolean;
}

/** Both engine versions on the embedded store. */
export const embeddedVariants: readonly Variant[] = [
  { docker: '20.10', store: 'embedded' },
  { docker: '26.1', store: 'embedded' },
];
/** Both engine versions, and the newer one with etcd for behaviour that depends on the store. */
export const allVariants: readonly Variant[] = [
  ...embeddedVariants,
  { docker: '26.1', store: 'etcd' },
];
/** Each engine and each store once. */
export const mixedVariants: readonly Variant[] = [
  { docker: '20.10', store: 'embedded' },
  { docker: '26.1', store: 'etcd' },
];

/** A host whose engine reaches its berth daemon through a proxy that records the calls. */
export interface PluggedHost extends AsyncDisposable {
  readonly variant: Variant;
  readonly host: Host;
  readonly berth: Berth;
  readonly proxy: RecordingProxy;
  readonly store: StoreView;
  /** Runs a docker command that must succeed; returns its output. */
  docker(...args: string[]): Promise<string>;
  /** Runs a docker command that must fail; returns its error output. */
  dockerFails(...args: string[]): Promise<string>;
  /**
   * Runs a script in a new container with these flags, such as `-v`, `db:/p`; returns its output.
   */
  run(flags: readonly string[], script: string): Promise<string>;
  /** Starts a container that sleeps, with these flags. It ends at once when it is stopped. */
  start(name: string, ...flags: string[]): Promise<void>;
  /** Returns the output of `docker inspect -f` for a container, image or volume. */
  inspect(name: string, format: string): Promise<string>;
  /** The directory of the volumes' content. */
  readonly volumeDir: string;
  /**
   * Calls a method such as `Create` or `Get` on the daemon's own socket, without engine and proxy.
   */
  call(
    method: string,
    body?: unknown,
    headers?: Readonly<Record<string, string>>,
  ): Promise<PluginAnswer>;
  /** Returns the volumes that are mounted on the host, one entry per mount; sorted. */
  mounted(): Promise<string[]>;
  /** Returns everything left of volumes anywhere; equals `nothing` when all has been removed. */
  left(): Promise<Leftovers>;
  /** Removes every container and every volume that can be removed. */
  clear(): Promise<void>;
}

export interface Leftovers {
  readonly mounts: readonly string[];
  readonly locks: readonly string[];
  readonly records: readonly string[];
  readonly storage: readonly string[];
}

export const nothing: Leftovers = { mounts: [], locks: [], records: [], storage: [] };

export interface PluggedHostOptions extends Variant {
  readonly berth?: BerthOptions;
  /** If false, the engine finds no plugin until `proxy.open`. */
  readonly isPlugged?: boolean;
}

export async function startPluggedHost(options: PluggedHostOptions): Promise<PluggedHost> {
  await using stack = new AsyncDisposableStack();
  const { docker, controlGroups = 1, isRemapped = false } = options;
  const host = stack.use(await startHost({ docker, controlGroups, isRemapped }));
  const etcd = options.store === 'etcd' ? stack.use(await startEtcd({ in: host })) : undefined;
  const socket = join(host.directory, 'berth.sock');
  const volumeDir = join(host.directory, 'volumes');
  const berth = stack.use(
    await startBerth(host, {
      volumeDir,
      socket,
      ...(etcd === undefined ? {} : { store: etcd.url }),
      ...options.berth,
    }),
  );
  // The engine must find no plugin now: tests count the first calls of an engine to a new plugin.
  const isIntroduced = () => berth.log().includes('the engine has looked for its plugins');
  await waitFor(isIntroduced, 10_000, 'berth to ask the engine for its volumes');
  const proxy = stack.use(
    await startRecordingProxy({
      socket: host.pathOf('/run/docker/plugins/berth.sock'),
      target: socket,
      isOpen: options.isPlugged ?? true,
    }),
  );
  const owned = stack.move();
  const mountDir = join(host.directory, 'berth/mounts/');
  const mounted = async () => {
    const table = await readFile(`/proc/${host.enginePid}/mountinfo`, 'utf8');
    const points = table.split('\n').map((line) => line.split(' ')[4] ?? '');
    return points
      .filter((point) => point.startsWith(mountDir))
      .map((point) => point.slice(mountDir.length))
      .filter((point) => !point.startsWith('.')) // The directory that stands in for a volume.
      .sort();
  };
  const store = etcd ? etcdView(etcd) : embeddedView(join(host.directory, 'berth/berth.db'));
  return {
    variant: { docker, store: options.store, controlGroups },
    host,
    berth,
    proxy,
    docker: host.dockerOk,
    dockerFails: async (...args) => {
      const { code, stdout, stderr } = await host.docker(...args);
      if (code === 0) throw new Error(`docker ${args.join(' ')} succeeded: ${stdout}`);
      return stderr;
    },
    run: (flags, script) =>
      host.dockerOk('run', '--rm', ...flags, 'busybox', 'sh', '-c', lingering(script)),
    start: async (name, ...flags) => {
      const all = ['-d', '--stop-timeout', '0', '--name', name, ...flags];
      await host.dockerOk('run', ...all, 'busybox', 'sleep', '1000');
    },
    inspect: (name, format) => host.dockerOk('inspect', '-f', format, name),
    volumeDir,
    store,
    call: (method, body, headers) => callPlugin(socket, endpointOf(method), body, headers),
    mounted,
    left: async () => ({
      mounts: await mounted(),
      locks: await store.locks(),
      records: Object.keys(await store.records()),
      storage: await storedVolumes(volumeDir),
    }),
    clear: () => clear(host),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

async function storedVolumes(volumeDir: string): Promise<string[]> {
  const found = await Array.fromAsync(glob('*/*', { cwd: volumeDir }));
  return found.filter((path) => !path.includes('/.tmp-')).sort();
}

async function clear(host: Host): Promise<void> {
  using engine = engineApi(host);
  const containers = containersSchema.parse(await engine.call('GET', '/containers/json?all=1'));
  const remove = (path: string) => engine.call('DELETE', path).catch(() => undefined);
  for (const { Id } of containers) await remove(`/containers/${Id}?force=1&v=1`);
  const { Volumes } = volumesSchema.parse(await engine.call('GET', '/volumes'));
  for (const { Name } of Volumes ?? []) await remove(`/volumes/${Name}?force=1`);
}

const containersSchema = z.array(z.object({ Id: z.string() }));
const volumesSchema = z.object({ Volumes: z.array(z.object({ Name: z.string() })).nullable() });

function endpointOf(method: string): string {
  return method === 'Activate' ? 'Plugin.Activate' : `VolumeDriver.${method}`;
}

export interface PluggedSuite {
  readonly variants: readonly Variant[];
  readonly requirements?: readonly Requirement[];
  readonly berth?: BerthOptions;
  readonly isPlugged?: boolean;
}

/**
 * Describes the same tests for each variant. The tests share one host, so each uses its own
 * volumes.
 */
export function describePlugged(
  name: string,
  { variants, requirements = [], ...options }: PluggedSuite,
  body: (on: () => PluggedHost) => void,
): void {
  for (const variant of variants) {
    const needs: Requirement[] = ['docker', ...requirements];
    if (variant.store === 'etcd') needs.push('etcd');
    const groups = variant.controlGroups === 2 ? ', control groups v2' : '';
    describeWith(
      needs,
      `${name}: Docker ${variant.docker}, ${variant.store} store${groups}`,
      () => {
        let plugged: PluggedHost | undefined;
        const on = () => {
          if (plugged === undefined) throw new Error('the host has not started');
          return plugged;
        };
        beforeAll(async () => {
          plugged = await startPluggedHost({ ...variant, ...options });
        });
        afterAll(async () => plugged?.[Symbol.asyncDispose]());
        beforeEach(() => on().proxy.forget());
        // Leftovers of a failed test must not make the next one fail.
        afterEach(async () => {
          if (on().proxy.isOpen) await on().clear();
        });
        body(on);
      },
    );
  }
}
