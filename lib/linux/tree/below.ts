import { close, look, openDirectory } from './calls.ts';
import type { Place } from './place.ts';
import { namesTo } from './place.ts';

/** Opens the directory at a place below a root, one name after the other. The caller closes it. */
export function openBelow(root: number, place: Place | undefined): number {
  let directory = openDirectory(root);
  for (const name of namesTo(place)) {
    const found = looked(directory, name);
    try {
      directory = openDirectory(found);
    } finally {
      close(found);
    }
  }
  return directory;
}

/** Looks at one name, and closes the directory. */
function looked(directory: number, name: Place['name']): number {
  try {
    return look(directory, name);
  } finally {
    close(directory);
  }
}
