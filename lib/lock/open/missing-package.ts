import { messageOf } from '../../running/message-of.ts';

/** A kind of store needs packages that are not installed; they come with no other kind. */
export class MissingPackageError extends Error {
  override readonly name = 'MissingPackageError';
  /** All packages that the kind of store needs. */
  readonly packages: readonly string[];
  constructor(what: string, missing: string, packages: readonly string[], cause: unknown) {
    const all = packages.join(' ');
    super(`locks on ${what} need the package ${missing}; install it: npm install ${all}`, {
      cause,
    });
    this.packages = packages;
  }
}

const codes: readonly unknown[] = ['ERR_MODULE_NOT_FOUND', 'MODULE_NOT_FOUND'];

/** Loads a module. Rejects MissingPackageError if it needs one of `packages` and that is not installed. */
export async function loadedFrom<T>(
  load: () => Promise<T>,
  what: string,
  packages: readonly string[],
): Promise<T> {
  try {
    return await load();
  } catch (error) {
    const isMissing =
      typeof error === 'object' && error !== null && 'code' in error && codes.includes(error.code);
    const text = messageOf(error);
    // A file within such a package has its name and a slash: etcd3/lib/….
    const missing = packages.find(
      (name) => text.includes(`'${name}'`) || text.includes(`'${name}/`),
    );
    if (!isMissing || missing === undefined) throw error;
    throw new MissingPackageError(what, missing, packages, error);
  }
}
