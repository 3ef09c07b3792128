/** An object of JSON. */
export type JsonObject = { readonly [key: string]: unknown };

/** A `test` of a JSON patch failed, or its path leads nowhere. */
export class PatchTestError extends Error {}

interface Operation {
  readonly op: 'test' | 'replace';
  readonly path: string;
  readonly value: unknown;
}

/** Returns what a merge patch (RFC 7386) makes of a value. */
export function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return patch;
  const merged: Record<string, unknown> = isObject(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete merged[key];
    else merged[key] = mergePatch(merged[key], value);
  }
  return merged;
}

/** Returns what a JSON patch (RFC 6902) makes of an object: its operations `test` and `replace`. */
export function applyOperations(target: JsonObject, patch: unknown): JsonObject {
  const changed = structuredClone(target) as Record<string, unknown>;
  for (const { op, path, value } of patch as readonly Operation[]) {
    const keys = path
      .split('/')
      .slice(1)
      .map((key) => key.replaceAll('~1', '/').replaceAll('~0', '~'));
    const last = keys.pop() ?? '';
    let parent: unknown = changed;
    for (const key of keys) parent = isObject(parent) ? parent[key] : undefined;
    if (!isObject(parent) || !(last in parent)) throw new PatchTestError(`${path} does not exist`);
    const isSame = JSON.stringify(parent[last]) === JSON.stringify(value);
    if (op === 'test' && !isSame) throw new PatchTestError(`the test of ${path} failed`);
    if (op === 'replace') (parent as Record<string, unknown>)[last] = value;
  }
  return changed;
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
