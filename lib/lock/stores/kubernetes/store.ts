import type { TicketStore } from '../ticket-store.ts';
import { podAccount } from './account.ts';
import type { ApiServerOptions } from './api-server.ts';
import { ApiServer } from './api-server.ts';
import { storeOn } from './object-store.ts';
import { annotationPlace, configMapPlace } from './place.ts';
import { processSurroundings } from './surroundings.ts';

export interface KubernetesStoreOptions extends Partial<ApiServerOptions> {
  /** The name of the ConfigMap with the locks, and of their Leases: a DNS label of at most 26 letters. */
  readonly name: string;
  /** The namespace; that of the pod by default. */
  readonly namespace?: string;
  /**
   * The path of an object in the API, such as `/api/v1/namespaces/shop/services/web`: the locks are
   * kept in an annotation of it, and not in a ConfigMap. It must exist, and may be no Deployment.
   */
  readonly resource?: string;
}

/**
 * Keeps tickets in Kubernetes, for the programs of a cluster that have nothing but its API server.
 * Without `server`, it uses the account of the pod.
 *
 *     ConfigMap NAME        the whole state; replaced only as the version that was read
 *     Lease NAME-<session>  one for each session, renewed by its client
 *
 * Each step is one replacement of the object, and all steps that wait share one; so there is one
 * order of all changes, and no clock decides. The object holds some thousand tickets (1 MiB; an
 * annotation 192 KiB); what does not fit is refused with `StoreRefusedError`.
 *
 * An API server whose etcd was put back to an earlier state is noticed by programs that have seen a later
 * one, which then refuse, and by no others: stop all holders before.
 */
export function kubernetesStore(options: KubernetesStoreOptions): TicketStore {
  const { name } = options;
  if (!/^[a-z0-9]([a-z0-9-]{0,24}[a-z0-9])?$/.test(name)) {
    throw new RangeError(`${name} is no name for a store: use at most 26 of a-z, 0-9 and "-"`);
  }
  const account = options.server === undefined ? podAccount() : undefined;
  const namespace = options.namespace ?? account?.namespace ?? 'default';
  const api = new ApiServer({ server: '', ...account, ...options });
  const { resource } = options;
  const place =
    resource === undefined ? configMapPlace(namespace, name) : annotationPlace(resource);
  return storeOn({ api, place, namespace, name, surroundings: processSurroundings });
}
