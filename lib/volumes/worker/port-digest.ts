import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { extname } from 'node:path';

/** The files that say what daemon and worker send to each other. */
const files = [
  ...['./messages', './calls'],
  ...['../drivers/driver', '../drivers/driver-call', '../drivers/driver-pool'],
  ...[
    '../drivers/looking-for-mark',
    '../drivers/stored-volume',
    '../drivers/takeover',
    '../drivers/trash',
  ],
];

/**
 * Returns a digest of the port between daemon and worker, as its files are now. A worker is started
 * at any time, so an upgrade in place can give a daemon a worker of another release: the worker
 * compares its own digest with that of its daemon, and does nothing if they differ.
 */
export function portDigest(): string {
  const hash = createHash('sha256');
  for (const file of files) {
    hash.update(readFileSync(new URL(`${file}${extname(import.meta.url)}`, import.meta.url)));
  }
  return hash.digest('hex');
}
