import { writeFile } from 'node:fs/promises';
import createDebug from 'debug';
import { z } from 'zod';
import { readIfThere, replaceFile } from '../../lib/linux/state-file.ts';
import type { RememberedHistory } from '../../lib/lock/stores/history-record.ts';
import type { HistoryMemory } from '../../lib/lock/stores/history-source.ts';

const log = createDebug('berth:host');

const fileSchema = z.object({
  version: z.literal(1),
  /** The part of the store that this host used. */
  prefix: z.string(),
  id: z.string(),
  cluster: z.string(),
  revision: z.number(),
  ttlMs: z.number(),
});

/**
 * Opens the file in the state directory that says which history of etcd this host took part in, so
 * that a restart of the daemon does not hide that etcd was put back.
 *
 * A change of history is on disk before a lock of the new one is used. The revision has a file of its
 * own, `….revision`, which is written at most each second and not synced: a power cut may lose it. Then
 * a copy of etcd's data that was put back and is newer than the revision on disk is not noticed at the
 * next start by this host alone. A restored snapshot is, because the store itself shows it.
 */
export async function historyFile(path: string, prefix: string): Promise<HistoryMemory> {
  const revisionPath = `${path}.revision`;
  let saved = await read(path, revisionPath, prefix);
  return {
    before: saved,
    save: async (remembered) => {
      const { id, revision } = remembered;
      if (saved?.id === id) await writeFile(revisionPath, `${id} ${revision}`, { mode: 0o600 });
      else await replaceFile(path, JSON.stringify({ version: 1, prefix, ...remembered }));
      saved = remembered;
    },
  };
}

async function read(
  path: string,
  revisionPath: string,
  prefix: string,
): Promise<RememberedHistory | undefined> {
  try {
    const text = await readIfThere(path);
    if (text === undefined) return undefined;
    const { prefix: of, id, cluster, revision, ttlMs } = fileSchema.parse(JSON.parse(text));
    if (of !== prefix) return undefined;
    const [latestOf, latest] = ((await readIfThere(revisionPath)) ?? '').split(' ');
    const seen = latestOf === id && /^\d+$/.test(latest ?? '') ? Number(latest) : 0;
    return { id, cluster, revision: Math.max(revision, seen), ttlMs };
  } catch (error) {
    log('ERROR starting without the remembered history in %s: %s', path, error);
    return undefined;
  }
}
