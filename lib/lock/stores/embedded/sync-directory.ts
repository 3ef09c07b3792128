import { closeSync, fsyncSync, openSync } from 'node:fs';

/** Puts the names in a directory on disk: a file that was made or renamed survives a power cut. */
export function syncDirectory(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
