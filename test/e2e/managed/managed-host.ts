import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Host } from '../../support/host.ts';
import { startHost } from '../../support/host.ts';
import { runOk } from '../../support/processes.ts';
import type { DockerVersion } from '../../support/tools.ts';
import { dockerTools } from '../../support/tools.ts';

const repository = join(import.meta.dirname, '../../..');

/** As the engine calls the plugin and its volumes' driver: not berth's own name. */
export const pluginName = 'lab/volumes:1';

/** Makes the plugin's files below `directory` out of this repository and this machine's programs. */
export async function buildPlugin(directory: string): Promise<string> {
  const output = join(directory, 'plugin');
  const script = join(repository, 'deploy/build-plugin.mjs');
  await runOk(process.execPath, [script, '--rootfs-from-host', '--output', output]);
  return output;
}

/** A host whose engine runs berth as a managed plugin. */
export interface ManagedHost extends AsyncDisposable {
  readonly host: Host;
  /** Where the plugin's `state` and `volumes` come from. */
  readonly stateDir: string;
  readonly volumeDir: string;
  /** Runs a docker command that has to succeed; returns what it printed. */
  docker(...args: string[]): Promise<string>;
  /** Runs one that has to fail; returns its complaint. */
  dockerFails(...args: string[]): Promise<string>;
  /** Runs a script in a container of its own with these volumes, such as `db:/p`. */
  run(volume: string, script: string): Promise<string>;
  /** Starts a container with a volume at /p that does nothing; ends at once when it is stopped. */
  start(name: string, volume: string, ...flags: string[]): Promise<void>;
  /** A command in a running container. */
  exec(container: string, script: string): Promise<string>;
  /** The daemon's process in the plugin, as this machine numbers it. */
  daemonPid(): Promise<number>;
  /** Mountpoints as the daemon sees them; one that is stacked appears twice. */
  daemonMounts(): Promise<string[]>;
  /** The volumes that the engine sees mounted, in the order of the alphabet. */
  mounted(): Promise<string[]>;
  /** Where a file of the installed plugin lies. */
  installed(path: string): string;
  /** What the engine has logged since it was started last, the plugin's log included. */
  log(): string;
  /** The mount IDs of each volume in the daemon's table, with their counts. */
  table(): Promise<Record<string, Record<string, { readonly count: number }>>>;
}

export interface ManagedHostOptions {
  readonly docker: DockerVersion;
  /** What `buildPlugin` made. */
  readonly plugin: string;
  readonly engineFlags?: readonly string[];
}

/** Starts a host and installs the plugin there, with its sources set, but does not enable it. */
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
      host.dockerOk('run', '--rm', '-v', volume, 'busybox', 'sh', '-c', script),
    start: async (name, volume, ...flags) => {
      const all = ['-d', '--stop-timeout', '0', '--name', name, '-v', `${volume}:/p`, ...flags];
      await host.dockerOk('run', ...all, 'busybox', 'sleep', '1000');
    },
    exec: (container, script) => host.dockerOk('exec', container, 'sh', '-c', script),
    daemonPid,
    daemonMounts: async () => mountpoints(await daemonPid()),
    mounted: async () => {
      // Those below a mountpoint that is shared with its parent are listed twice.
      const seen = new Set(await mountpoints(host.enginePid));
      return [...seen]
        .filter((path) => path.startsWith(propagated))
        .map((path) => path.slice(propagated.length))
        .sort();
    },
    installed: (path) => join(installation, 'rootfs', path),
    log: () => host.engineOutput(),
    table: async () => {
      const { rows } = JSON.parse(await readFile(join(stateDir, 'mounts.json'), 'utf8'));
      return Object.fromEntries(
        rows.map((row: { volume: string; mountIds: object }) => [row.volume, row.mountIds]),
      );
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

async function mountpoints(pid: number): Promise<string[]> {
  const table = await readFile(`/proc/${pid}/mountinfo`, 'utf8');
  return table.split('\n').map((line) => line.split(' ')[4] ?? '');
}
