// Debian's Podman on a host of a test, beside its Docker engine: it has berth as a volume plugin, and keeps
// everything in the host's directory.
import { mkdir, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { Host } from './host.ts';
import type { FinishedProcess } from './processes.ts';
import { succeeded } from './processes.ts';
import { busyboxArchive, dockerTools, podmanDirectory } from './tools.ts';

export interface Podman extends AsyncDisposable {
  /** Runs a podman command; does not check the exit code. */
  podman(...args: string[]): Promise<FinishedProcess>;
  /** Runs a container of busybox that sleeps, with this volume. */
  start(name: string, volume: string): Promise<FinishedProcess>;
}

export async function preparePodman(host: Host): Promise<Podman> {
  const tools = podmanDirectory();
  // As the engine's: it ends with the host.
  const group = basename(host.directory);
  const at = (name: string) => join(host.directory, 'podman', name);
  const ownSettings = join(at('home'), '.config/containers');
  await mkdir(ownSettings, { recursive: true });
  await writeFile(
    join(ownSettings, 'policy.json'),
    '{ "default": [{ "type": "insecureAcceptAnything" }] }',
  );
  await writeFile(at('containers.conf'), settingsOf(tools));
  await writeFile(
    at('storage.conf'),
    `[storage]\ndriver = "vfs"\nrunroot = "${at('run')}"\ngraphroot = "${at('storage')}"\n`,
  );
  const libraries = ['usr/lib', 'lib'].map((name) => join(tools, name, 'x86_64-linux-gnu'));
  const env = {
    HOME: at('home'),
    CONTAINERS_CONF: at('containers.conf'),
    CONTAINERS_STORAGE_CONF: at('storage.conf'),
    LD_LIBRARY_PATH: libraries.join(':'),
  };
  const podman = (...args: string[]) => host.exec(join(tools, 'usr/bin/podman'), args, { env });
  // Podman never unmounts the volumes of a container that has a directory (--rootfs) instead of an image.
  const imported = await podman('import', busyboxArchive(), 'busybox');
  succeeded(['podman', 'import'], imported);
  return {
    podman,
    start: (name, volume) =>
      podman(
        ...['run', '-d', '--name', name, '--stop-timeout', '0', '--network=none'],
        // Podman's own limits are higher than those of some machines.
        ...['--ulimit=nofile=1024:1024', '--ulimit=nproc=1024:1024'],
        ...[
          `--cgroup-parent=/${group}`,
          '--security-opt=seccomp=unconfined',
          '-v',
          `${volume}:/data`,
        ],
        ...['busybox', 'sleep', '1000'],
      ),
    async [Symbol.asyncDispose]() {
      await podman('rm', '--all', '--force', '--time', '0');
    },
  };
}

function settingsOf(tools: string): string {
  return `
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
conmon_path = ["${join(tools, 'usr/bin/conmon')}"]
runtime = "runc"
[engine.runtimes]
runc = ["${dockerTools('20.10').runc}"]
[engine.volume_plugins]
berth = "/run/docker/plugins/berth.sock"
`;
}
