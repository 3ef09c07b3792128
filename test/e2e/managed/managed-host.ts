import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Host } from '../../support/host.ts';
import { lingering, startHost } from '../../support/host.ts';
import { runOk } from '../../support/processes.ts';
import { storedMounts } from '../../support/stored-mounts.ts';
import type { DockerVersion } from '../../support/tools.ts';
import { dockerTools } from '../../support/tools.ts';

const repository = join(import.meta.dirname, '../../..');

/** The engine's name of the plugin and of its volume driver; differs from berth's own name. */
export const pluginName = 'lab/volumes:1';

/** Builds the plugin's files below `directory` from this repository and this machine's programs. */
export async function buildPlugin(directory: string): Promise<string> {
  const output = join(directory, 'plugin');
  const script = join(repository, 'deploy/build-plugin.mjs');
  await runOk(process.execPath, [script, '--rootfs-from-host', '--output', output]);
  return output;
}

/** A host whose engine runs berth as a managed plugin. */
export interface ManagedHost extends AsyncDisposable {
  readonly host: Host;
  /** The sources of the plugin's mounts `state` and `volumes`. */
  readonly stateDir: string;
  readonly volumeDir: string;
  /** Runs a docker command that must succeed; returns its output. */
  docker(...args: string[]): Promise<string>;
  /** Runs a docker command that must fail; returns its error output. */
  dockerFails(...args: string[]): Promise<string>;
  /** Runs a script in a new container with this volume, such as `db:/p`; returns its output. */
  run(volume: string, script: string): Promise<string>;
  /** Starts a container that sleeps, with a volume at /p. It ends at once when it is stopped. */
  start(name: string, volume: string, ...flags: string[]): Promise<void>;
  /** Runs a command in a running container. */
  exec(container: string, script: string): Promise<string>;
  /** Returns the process ID of the plugin's daemon, as this machine numbers it. */
  daemonPid(): Promise<number>;
  /** Returns the daemon's mountpoints; a stacked one appears twice. */
  daemonMounts(): Promise<string[]>;
  /** Returns the volumes that the engine sees mounted; sorted. */
  mounted(): Promise<string[]>;
  /** Returns the path of a file of the installed plugin. */
  installed(path: string): string;
  /** Returns the engine's log since its last start, with the plugin's log. */
  log(): string;
  /** Returns the mount IDs of each volume in the daemon's mount table, with their counts. */
  table(): Promise<Record<string, Record<string, { readonly count: number }>>>;
}

export interface ManagedHostOptions {
  readonly docker: DockerVersion;
  /** The directory that `buildPlugin` returned. */
  readonly plugin: string;
  readonly engineFlags?: readonly string[];
}

/** Starts a host and installs the plugin with its sources set, but does not enable it. */
export async function startManagedHost(options: ManagedHostOptions): Promise<ManagedHost> {
  const { docker, engineFlags = [] } = options;
  await using stack = new AsyncDisposableStack();
  const host = stack.use(await startHost({ docker, engineFlags }));
  const stateDir = join(host.directory, 'state');
  const volumeDir = join(host.directory, 'volumes');
  await mkdir(stateDir);
  await mkdir(volumeDir);
  await host.dockerOk('plugin', 'create', pluginName, options.plugin);
  const sources = [
    ...[`state.source=${stateDir}`, `volumes.source=${volumeDir}`, `etcd.source=${stateDir}`],
    `docker.source=${host.dockerSocket}`,
  ];
  await host.dockerOk('plugin', 'set', pluginName, ...sources, 'DEBUG=berth:*');
  const id = await host.dockerOk('plugin', 'inspect', '-f', '{{.Id}}', pluginName);
  const installation = join(host.directory, 'engine/data/plugins', id);
  const propagated = join(installation, 'propagated-mount/mounts/');
  const runcRoot = join(host.directory, 'engine/exec/runtime-runc/plugins.moby');

  async function daemonPid(): Promise<number> {
    const { runc } = dockerTools(docker);
    const state = JSON.parse(await host.execOk(runc, '--root', runcRoot, 'state', id));
    return state.status === 'running' ? state.pid : 0;
  }

  const owned = stack.move();
  return {
    host,
    stateDir,
    volumeDir,
    docker: host.dockerOk,
    dockerFails: async (...args) => {
      const { code, stdout, stderr } = await host.docker(...args);
      if (code === 0) throw new Error(`docker ${args.join(' ')} succeeded: ${stdout}`);
      return stderr;
    },
    run: (volume, script) =>
      host.dockerOk('run', '--rm', '-v', volume, 'busybox', 'sh', '-c', lingering(script)),
    start: async (name, volume, ...flags) => {
      const all = ['-d', '--stop-timeout', '0', '--name', name, '-v', `${volume}:/p`, ...flags];
      await host.dockerOk('run', ...all, 'busybox', 'sleep', '1000');
    },
    exec: (container, script) => host.dockerOk('exec', container, 'sh', '-c', script),
    daemonPid,
    daemonMounts: async () => mountpoints(await daemonPid()),
    mounted: async () => {
      // Mounts below a mountpoint that is shared with its parent are listed twice.
      const seen = new Set(await mountpoints(host.enginePid));
      return [...seen]
        .filter((path) => path.startsWith(propagated))
        .map((path) => path.slice(propagated.length))
        .sort();
    },
    installed: (path) => join(installation, 'rootfs', path),
    log: () => host.engineOutput(),
    table: async () => {
      const rows = storedMounts(await readFile(join(stateDir, 'mounts.json'), 'utf8'));
      return Object.fromEntries(rows.map(({ volume, mountIds }) => [volume, mountIds]));
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

async function mountpoints(pid: number): Promise<string[]> {
  const table = await readFile(`/proc/${pid}/mountinfo`, 'utf8');
  return table.split('\n').map((line) => line.split(' ')[4] ?? '');
}
