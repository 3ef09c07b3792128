import { stat } from 'node:fs/promises';
import { hostOf, isLoopback } from '../../lib/etcd/member-list.ts';
import type { Condition } from '../../lib/lock/condition.ts';
import type { Config } from '../config/config.ts';

type EtcdSettings = Extract<Config['store'], { kind: 'etcd' }>;

/**
 * Lists what makes etcd easy to reach for others, as far as the settings and this host's files tell. An etcd on this
 * host alone (a loopback address) counts as safe. Never rejects.
 */
export async function etcdSafety(store: Config['store']): Promise<Condition[]> {
  if (store.kind !== 'etcd') return [];
  return [
    ...(isLocal(store) ? [] : conditionsOfNetwork(store)),
    ...(await conditionsOfFiles(store)),
  ];
}

function conditionsOfNetwork({ tls, user, certFile }: EtcdSettings): Condition[] {
  const conditions: Condition[] = [];
  if (user && !tls) {
    const message =
      "the password of etcd's user goes over the network in plain text; use etcds:// with --etcd-ca";
    conditions.push({ severity: 'warning', message });
  }
  if (!certFile) {
    // etcd checks no permission for the renewal of leases, also with its authentication enabled.
    const can = user
      ? "can keep a dead host's locks from expiring"
      : 'can take locks away and change volumes';
    const message = `etcd asks this host for no client certificate, so anybody who reaches etcd's port ${can}; have etcd ask for one (--client-cert-auth) and set --etcd-cert, or keep its port in a network of its own`;
    conditions.push({ severity: 'warning', message });
  }
  return conditions;
}

async function conditionsOfFiles({ passwordFile, keyFile }: EtcdSettings): Promise<Condition[]> {
  const conditions: Condition[] = [];
  for (const path of [passwordFile, keyFile]) {
    if (!path) continue;
    const stats = await stat(path).catch(() => undefined); // The next login or connection says why.
    if (!stats || (stats.mode & 0o077) === 0) continue;
    const message = `the file ${path} can be read or changed by other users of this host; run: chmod 600 ${path}`;
    conditions.push({ severity: 'warning', message });
  }
  return conditions;
}

/** True if all members are on this host. */
function isLocal({ endpoints }: EtcdSettings): boolean {
  return endpoints.every((endpoint) => isLoopback(hostOf(endpoint)));
}
