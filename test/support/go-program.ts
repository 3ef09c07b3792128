// Compiles a Go program that uses etcd's client, from Debian's packages and without the network.
import { existsSync } from 'node:fs';
import { mkdir, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { runOk } from './processes.ts';
import { etcdClientOfGo, goBuildCache, librariesOfGo } from './tools.ts';

/**
 * Compiles the program `source` into the directory, and returns its path. Debian 12 has the client of etcd 3.4, whose
 * import path is another one than that of today: it gets the new path.
 */
export async function compileGo(source: string, directory: string): Promise<string> {
  const client = etcdClientOfGo();
  if (client === undefined) throw new Error("etcd's client for Go is not installed");
  const path = join(directory, 'src/go.etcd.io/etcd/client/v3');
  if (!existsSync(path)) {
    await mkdir(dirname(path), { recursive: true });
    await symlink(client, path);
  }
  const program = join(directory, 'program');
  await runOk('go', ['build', '-o', program, source], {
    env: {
      GO111MODULE: 'off',
      GOFLAGS: '',
      GOPATH: `${directory}:${librariesOfGo}`,
      // Of all runs: to compile etcd's client takes 20 s of CPU time.
      GOCACHE: goBuildCache(),
    },
  });
  return program;
}
