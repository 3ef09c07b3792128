// A registry for images and plugins: Debian's docker-registry on the loopback of a host.
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Host } from './host.ts';
import { waitFor } from './processes.ts';
import { registryProgram } from './tools.ts';

const port = 5000; // The host has a loopback of its own.

export interface Registry extends AsyncDisposable {
  /** The part of a name before the first slash. An engine trusts a registry on its loopback without TLS. */
  readonly address: string;
}

/** Starts a registry inside a host. It keeps everything in the host's directory. */
export async function startRegistry(host: Host): Promise<Registry> {
  const directory = join(host.directory, 'registry');
  await mkdir(directory);
  const settings = join(directory, 'settings.yml');
  await writeFile(
    settings,
    [
      'version: 0.1',
      `storage: { filesystem: { rootdirectory: ${join(directory, 'data')} } }`,
      `http: { addr: "127.0.0.1:${port}" }`,
      'log: { level: error, accesslog: { disabled: true } }',
    ].join('\n'),
  );
  const server = host.spawn(registryProgram(), ['serve', settings]);
  const opened = `exec 3<>/dev/tcp/127.0.0.1/${port}`;
  const listens = async () => (await host.exec('bash', ['-c', opened])).code === 0;
  await waitFor(listens, 10_000, 'the registry to listen');
  return {
    address: `127.0.0.1:${port}`,
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}
