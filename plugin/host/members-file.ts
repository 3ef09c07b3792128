import createDebug from 'debug';
import { z } from 'zod';
import type { MemberMemory } from '../../lib/etcd/learnt-members.ts';
import { readIfThere, replaceFile } from '../../lib/linux/state-file.ts';

const log = createDebug('berth:host');

const fileSchema = z.object({
  version: z.literal(1),
  /** The configured members: with others, the settings may mean another cluster. */
  configured: z.array(z.string()),
  cluster: z.string(),
  members: z.array(z.object({ id: z.string(), endpoint: z.string() })),
});

/**
 * Opens the file in the state directory that says where the members of etcd are, as the cluster itself has told. So a
 * daemon that starts again finds a cluster of which no configured address is in use any more. A file that can't be
 * read, or was written with other settings, counts as absent.
 */
export async function membersFile(
  path: string,
  configured: readonly string[],
): Promise<MemberMemory> {
  return {
    before: await read(path, configured),
    save: (members) => replaceFile(path, JSON.stringify({ version: 1, configured, ...members })),
  };
}

async function read(path: string, configured: readonly string[]): Promise<MemberMemory['before']> {
  try {
    const text = await readIfThere(path);
    if (text === undefined) return undefined;
    const stored = fileSchema.parse(JSON.parse(text));
    const isSame = [...stored.configured].sort().join() === [...configured].sort().join();
    return isSame ? { cluster: stored.cluster, members: stored.members } : undefined;
  } catch (error) {
    log('ERROR starting without the remembered members of etcd in %s: %s', path, error);
    return undefined;
  }
}
