import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { Host } from '../../support/host.ts';
import { powerCutOf } from '../../support/host-processes.ts';
import { makeNamespaces } from '../../support/namespaces.ts';
import type { Network } from '../../support/network.ts';
import { hideMountCalls } from '../../support/no-mount-calls.ts';

/**
 * A host without a Docker engine: the test calls the plugin in its place. Its directory is in
 * memory, where a sync to disk takes no time. berth mounts by programs there, so that `shadow` can
 * make a mount fail or wait.
 */
export interface BareHost
  extends Pick<Host, 'name' | 'address' | 'directory' | 'dockerSocket' | 'pathOf'>,
    Pick<Host, 'spawn' | 'exec' | 'execOk' | 'mountInfo' | 'disconnect' | 'reconnect'>,
    AsyncDisposable {
  /** Makes a shell script run instead of a program that berth runs, such as `mount`. */
  shadow(program: string, script: string): Promise<void>;
  unshadow(program: string): Promise<void>;
}

const preparation = `
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/docker/plugins /run/lock
mount -t tmpfs -o mode=755 tmpfs /usr/local/sbin
${hideMountCalls}`;

export async function startBareHost(name: string, network?: Network): Promise<BareHost> {
  await using stack = new AsyncDisposableStack();
  const directory = await mkdtemp('/dev/shm/berth-test-');
  stack.defer(() => rm(directory, { recursive: true, force: true, maxRetries: 10 }));
  const namespaces = stack.use(await makeNamespaces(`hostname ${name}\n${preparation}`));
  // Also ends the processes that a killed daemon left behind.
  stack.defer(await powerCutOf(namespaces.pid, basename(directory)));
  const cable = await network?.attach(namespaces.pid);
  const owned = stack.move();
  const pathOf = (path: string) => join(`/proc/${namespaces.pid}/root`, path);
  const shadowPath = (program: string) => pathOf(join('/usr/local/sbin', program));
  return {
    name,
    address: cable?.address ?? '127.0.0.1',
    directory,
    dockerSocket: join(directory, 'docker.sock'),
    pathOf,
    spawn: namespaces.spawn,
    exec: namespaces.exec,
    execOk: namespaces.execOk,
    mountInfo: namespaces.mountInfo,
    shadow: async (program, script) => {
      await writeFile(shadowPath(program), `#!/bin/sh\n${script}\n`);
      await chmod(shadowPath(program), 0o755);
    },
    disconnect: async () => cable?.disconnect(),
    reconnect: async () => cable?.reconnect(),
    unshadow: (program) => rm(shadowPath(program), { force: true }),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
