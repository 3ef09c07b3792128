import { readFileSync } from 'node:fs';
import { LockUnsupportedError } from '../../errors.ts';
import type { ApiServerOptions } from './api-server.ts';

/** Where Kubernetes puts the account of a pod. */
const accountDirectory = '/var/run/secrets/kubernetes.io/serviceaccount';

/** Returns the account of the pod in which this process runs. Throws `LockUnsupportedError` outside of one. */
export function podAccount(): ApiServerOptions & { readonly namespace: string } {
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port = '443' } = process.env;
  if (!host) {
    throw new LockUnsupportedError(
      'locks in Kubernetes need the account of a pod, and this process runs in none; outside of a pod, give kubernetesStore the server and an account',
    );
  }
  const read = (name: string) => readFileSync(`${accountDirectory}/${name}`, 'utf8');
  return {
    server: `https://${host.includes(':') ? `[${host}]` : host}:${port}`,
    tokenFile: `${accountDirectory}/token`,
    ca: read('ca.crt'),
    namespace: read('namespace').trim(),
  };
}
