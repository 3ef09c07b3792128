// Starts API servers of Kubernetes on an etcd of their own, for tests.
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ApiServerOptions } from '../../lib/lock/stores/kubernetes/api-server.ts';
import { ApiServer } from '../../lib/lock/stores/kubernetes/api-server.ts';
import type { Etcd } from './etcd-server.ts';
import { startEtcd } from './etcd-server.ts';
import type { RunningProcess } from './processes.ts';
import { freePort, runOk, startProcess, waitFor } from './processes.ts';
import { makeTemporaryDirectory } from './temporary-directory.ts';
import { apiServerProgram } from './tools.ts';

export interface Kubernetes extends AsyncDisposable {
  readonly etcd: Etcd;
  /** An administrator's access. */
  readonly admin: ApiServerOptions & { readonly server: string };
  /** The access of the account `locks`, which may do nothing before it is given roles. */
  readonly account: ApiServerOptions & { readonly server: string };
  pause(): void;
  resume(): void;
  kill(): Promise<void>;
  restart(): Promise<void>;
}

export async function startKubernetes(): Promise<Kubernetes> {
  await using stack = new AsyncDisposableStack();
  const { path } = stack.use(await makeTemporaryDirectory());
  const etcd = stack.use(await startEtcd());
  const port = await freePort();
  const key = join(path, 'account.key');
  const tokens = join(path, 'tokens');
  await runOk('openssl', ['genrsa', '-out', key, '2048']);
  await writeFile(tokens, 'admin-token,admin,1,"system:masters"\nlocks-token,locks,2\n');
  const start = () =>
    startProcess(apiServerProgram(), [
      `--etcd-servers=${etcd.endpoints.join(',')}`,
      `--cert-dir=${path}`,
      ...['--bind-address=127.0.0.1', '--advertise-address=127.0.0.1', `--secure-port=${port}`],
      ...['--service-account-issuer=berth', `--service-account-key-file=${key}`],
      `--service-account-signing-key-file=${key}`,
      ...[`--token-auth-file=${tokens}`, '--authorization-mode=RBAC'],
      '--service-cluster-ip-range=10.0.0.0/24',
      '--disable-admission-plugins=ServiceAccount',
    ]);
  let process: RunningProcess = start();
  stack.defer(() => process.stop());
  const server = `https://127.0.0.1:${port}`;
  const ready = async () => {
    await waitFor(
      async () => {
        if (process.hasExited) throw new Error(process.output().slice(-2_000));
        const ca = await readFile(join(path, 'apiserver.crt'), 'utf8');
        using api = new ApiServer({ server, token: 'admin-token', ca });
        return await api.call('GET', '/api/v1/namespaces/default');
      },
      60_000,
      'the API server to serve',
    );
  };
  await ready();
  const ca = await readFile(join(path, 'apiserver.crt'), 'utf8');
  const kubernetes: Kubernetes = {
    etcd,
    admin: { server, token: 'admin-token', ca },
    account: { server, token: 'locks-token', ca },
    pause: () => process.kill('SIGSTOP'),
    resume: () => process.kill('SIGCONT'),
    kill: async () => {
      process.kill('SIGKILL');
      await process.finished;
    },
    restart: async () => {
      process = start();
      await ready();
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
  const owned = stack.move();
  return kubernetes;
}
