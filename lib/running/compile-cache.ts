import { getCompileCacheDir } from 'node:module';
import { dirname } from 'node:path';

/**
 * Returns the variable by which a Node that this process starts keeps compiled code where this one
 * does; none if this one keeps none.
 */
export function compileCacheVariable(): { readonly NODE_COMPILE_CACHE?: string } {
  // Below it, each version of Node has a directory of its own.
  const directory = getCompileCacheDir();
  return directory === undefined ? {} : { NODE_COMPILE_CACHE: dirname(directory) };
}
