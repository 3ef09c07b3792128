import { appendFileSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import createDebug from 'debug';
import { hasCode } from '../lib/linux/error-code.ts';
import type { StateFile } from './ports.ts';

const log = createDebug('berth:sentinel');

/**
 * Returns the sentinel's state file at a path. It is not synced to disk: it belongs to one boot, and
 * after a power cut it means nothing.
 */
export function stateFile(path: string): StateFile {
  return {
    read: () => {
      try {
        return readFileSync(path, 'utf8').split('\n').filter(Boolean);
      } catch (error) {
        if (hasCode(error, 'ENOENT')) return [];
        throw error;
      }
    },
    append: (line) => logged(path, () => appendFileSync(path, `${line}\n`, { mode: 0o600 })),
    replace: (line) =>
      logged(path, () => {
        writeFileSync(`${path}.new`, `${line}\n`, { mode: 0o600 });
        renameSync(`${path}.new`, path);
      }),
  };
}

function logged(path: string, write: () => void): boolean {
  try {
    write();
    return true;
  } catch (error) {
    log('ERROR the state can not be written to %s: %s', path, error);
    return false;
  }
}
