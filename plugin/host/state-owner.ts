import { mkdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import createDebug from 'debug';
import { z } from 'zod';
import { hasCode } from '../../lib/linux/error-code.ts';
import type { ProcessIdentity } from '../../lib/linux/process-identity.ts';
import { isRunning, isSameProcess } from '../../lib/linux/process-identity.ts';
import { readIfThere, replaceFile } from '../../lib/linux/state-file.ts';
import { messageOf } from '../../lib/running/message-of.ts';
import type { HostIdentity } from './identity.ts';

const log = createDebug('berth:host');

/**
 * The origin of the state directory. `host.json` names the machine, the boot and the process that used it
 * last. A virtual machine that is copied brings the directory along, and nothing in it may then be taken
 * for this machine's own: the original holds the locks that the session names.
 *
 * | `is`        | the directory was last used by    | so this daemon                                 |
 * |-------------|-----------------------------------|------------------------------------------------|
 * | `new`       | nobody, or a release before 0.1.0 | resumes the session that it may find           |
 * | `continued` | this machine, in this boot        | resumes the session, with its locks            |
 * | `rebooted`  | this machine ID, in another boot  | opens a new session on a shared store; that of |
 * |             |                                   | the other boot, which may be the session of    |
 * |             |                                   | this machine's original, expires by itself     |
 * | `unseen`    | this machine, in this boot, by| does the same: that process may still run      |
 * |             | a process of another PID      |                                                |
 * |             | namespace                     |                                                |
 * | `copied`    | another machine                   | does the same, and sets the other's files aside|
 */
export type StateOwner =
  | { readonly is: 'new' | 'continued' | 'rebooted' | 'unseen' }
  | { readonly is: 'copied'; readonly from: string; readonly aside: string };

/** Another process, on this machine, was started with a directory that this one is a copy of. */
export class StateDirectoryCopiedError extends Error {
  override readonly name = 'StateDirectoryCopiedError';
}

/** The session on a store that other hosts share, which may be another machine's. */
const sharedSession = 'session-etcd';

/** Returns the path of the session of an earlier boot: it is not resumed. */
export function earlierSessionPath(stateDir: string): string {
  return join(stateDir, `${sharedSession}.earlier`);
}

/** The files that mean something on one machine only. Records and events are kept: they stay true. */
const filesOfOneMachine = [
  sharedSession,
  `${sharedSession}.earlier`,
  'session-embedded',
  'mounts.json',
  'ended-containers.json',
];

const fileName = 'host.json';

const hostSchema = z.object({
  format: z.literal(1),
  /** The machine's ID. */
  machine: z.string(),
  /** The name of the host. */
  host: z.string(),
  process: z.object({
    pid: z.number(),
    started: z.string(),
    boot: z.string(),
    namespace: z.string(),
  }),
});

/**
 * Tells whose the state directory is, makes it this process's, and sets aside what belongs to another
 * machine. A crash in between is repeated by the next start. Rejects StateDirectoryCopiedError while the
 * process runs that used the original of this directory on this machine.
 */
export async function ownStateDirectory(
  stateDir: string,
  { machine, host }: HostIdentity,
  self: ProcessIdentity,
  now: Date,
): Promise<StateOwner> {
  const path = join(stateDir, fileName);
  const last = await lastOwner(stateDir);
  const owner = await ownerOf(stateDir, last, { machine, self, now });
  const text = JSON.stringify({ format: 1, machine, host, process: self });
  // A full disk must not keep the daemon from serving what is mounted.
  await replaceFile(path, text).catch((error) => log('WARNING %s', messageOf(error)));
  return owner;
}

type Owner = z.infer<typeof hostSchema>;

/** Returns who used the state directory last; undefined if that is not known. */
export async function lastOwner(stateDir: string): Promise<Owner | undefined> {
  return parseOwner(await readIfThere(join(stateDir, fileName)));
}

async function ownerOf(
  stateDir: string,
  last: Owner | undefined,
  { machine, self, now }: { machine: string; self: ProcessIdentity; now: Date },
): Promise<StateOwner> {
  if (!last) return { is: 'new' };
  if (last.machine !== machine) {
    const from = `${last.host} (machine ID ${last.machine})`;
    const aside = join(stateDir, `of-${last.machine}-${now.toISOString()}`);
    await setAside(stateDir, aside);
    return { is: 'copied', from, aside };
  }
  const isOtherBoot = last.process.boot !== self.boot;
  const runs = isSameProcess(last.process, self) ? false : isRunning(last.process, self);
  if (isOtherBoot || runs === 'unknown') {
    // Before the file names this process: the next start could not tell whose the session is.
    await moveIfThere(join(stateDir, sharedSession), earlierSessionPath(stateDir));
    return { is: isOtherBoot ? 'rebooted' : 'unseen' };
  }
  if (runs) {
    throw new StateDirectoryCopiedError(
      `the state directory ${stateDir} is a copy of one that process ${last.process.pid} of this ` +
        'machine uses: start this berth with an empty --state-dir and a --host of its own',
    );
  }
  return { is: 'continued' };
}

/** Returns undefined for a file that can't be read: it proves nothing. */
function parseOwner(text: string | undefined): Owner | undefined {
  if (text === undefined) return undefined;
  try {
    return hostSchema.parse(JSON.parse(text));
  } catch (error) {
    log('WARNING %s is not readable and counts as absent: %s', fileName, messageOf(error));
    return undefined;
  }
}

async function setAside(stateDir: string, aside: string): Promise<void> {
  await mkdir(aside, { recursive: true, mode: 0o700 });
  for (const name of filesOfOneMachine) {
    await moveIfThere(join(stateDir, name), join(aside, name));
  }
}

async function moveIfThere(from: string, to: string): Promise<void> {
  try {
    await rename(from, to);
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) throw error;
  }
}
