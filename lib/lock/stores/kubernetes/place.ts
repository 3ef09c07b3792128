import type { ApiObject } from './api.ts';

/** The annotation that holds the state in an object of somebody else. */
export const annotation = 'berth.io/locks';

/** Where the state of one store is kept: a ConfigMap of its own, or an annotation of an object. */
export interface Place {
  /** The path of the object, and that of the list that it is in. */
  readonly path: string;
  readonly list: string;
  readonly name: string;
  /** The most bytes that the API server accepts there. */
  readonly limitBytes: number;
  /** Returns the stored text; undefined if there is none yet. */
  textIn(object: ApiObject): string | undefined;
  /** Returns the fields that hold a text, for a merge patch. */
  fields(text: string): { readonly metadata?: object; readonly data?: object };
  /** Returns the object to create; undefined if it is somebody else's, and must exist. */
  fresh(): object | undefined;
}

interface ConfigMap extends ApiObject {
  readonly data?: Readonly<Record<string, string>>;
}

/** A ConfigMap may hold 1 MiB in all; some of it is left for what others add to its metadata. */
export function configMapPlace(namespace: string, name: string): Place {
  const list = `/api/v1/namespaces/${namespace}/configmaps`;
  return {
    path: `${list}/${name}`,
    list,
    name,
    limitBytes: 1000 * 1024,
    textIn: (object) => (object as ConfigMap).data?.state,
    fields: (state) => ({ data: { state } }),
    fresh: () => ({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name } }),
  };
}

/**
 * All annotations of an object may hold 256 KiB; a quarter is left for those of others. Throws RangeError
 * for a Deployment: its controller copies the annotations to the ReplicaSets, and `kubectl rollout undo`
 * takes them back from there, which would put the locks back to an earlier state.
 */
export function annotationPlace(path: string): Place {
  if (/\/deployments\/[^/]*$/.test(path)) {
    throw new RangeError(
      `${path} can't keep locks: "kubectl rollout undo" puts the annotations of a Deployment back; use another kind of object`,
    );
  }
  const cut = path.lastIndexOf('/');
  return {
    path,
    list: path.slice(0, cut),
    name: path.slice(cut + 1),
    limitBytes: 192 * 1024,
    textIn: ({ metadata }) => metadata.annotations?.[annotation],
    fields: (state) => ({ metadata: { annotations: { [annotation]: state } } }),
    fresh: () => undefined,
  };
}
