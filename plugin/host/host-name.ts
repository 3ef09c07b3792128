import { join } from 'node:path';
import createDebug from 'debug';
import type { ProcessIdentity } from '../../lib/linux/process-identity.ts';
import { isRunning, thisProcess } from '../../lib/linux/process-identity.ts';
import { readIfThere } from '../../lib/linux/state-file.ts';
import type { Condition } from '../../lib/lock/condition.ts';
import { isPermanent } from '../../lib/lock/permanent-session.ts';
import type { Ticket } from '../../lib/lock/ticket.ts';
import { parseLockName } from '../../lib/lock/use/use.ts';
import { messageOf } from '../../lib/running/message-of.ts';
import { readTable } from '../../lib/volumes/mounts/table-text.ts';
import { lastOwner } from './state-owner.ts';

const log = createDebug('berth:host');

/** The name under which this host takes part in the cluster. */
export interface HostName {
  readonly host: string;
  /** The name of the settings, if the host has to keep its former one for now. */
  readonly wanted?: string;
}

/**
 * Returns the name of this host. A host that was renamed in this boot while it has volumes mounted keeps its former
 * name: their locks are the former host's, and those with `failover=manual` never become free for another host, so
 * the containers would be ended.
 */
export async function hostName(stateDir: string, wanted: string): Promise<HostName> {
  try {
    const last = await lastOwner(stateDir);
    if (!last || last.host === wanted || !hasEndedHere(last.process)) return { host: wanted };
    const { rows } = readTable((await readIfThere(join(stateDir, 'mounts.json'))) ?? '');
    return rows.size === 0 ? { host: wanted } : { host: last.host, wanted };
  } catch (error) {
    log('whether this host was renamed is not known: %s', messageOf(error));
    return { host: wanted };
  }
}

/** Says that a host keeps its former name. */
export function nameConditions({ host, wanted }: HostName): Condition[] {
  if (wanted === undefined) return [];
  const message =
    `the host is called ${wanted} now, but has volumes mounted as ${host}, and stays ${host} until ` +
    'they are unmounted and berth is started again';
  return [{ severity: 'warning', message }];
}

/**
 * Names the locks that outlive their host and were left under a former name of this machine. They may also be those of
 * a copy of this machine that is cut off, so a person decides. `identity` is this host's.
 */
export function formerNameConditions(tickets: readonly Ticket[], identity: string): Condition[] {
  const machine = machineOf(identity);
  const isFormer = ({ owner }: Ticket) => owner !== identity && machineOf(owner) === machine;
  const alive = new Set(
    tickets.filter(({ session }) => !isPermanent(session)).map(({ owner }) => owner),
  );
  return tickets
    .filter((ticket) => isFormer(ticket) && isPermanent(ticket.session) && !alive.has(ticket.owner))
    .flatMap(({ locks, token, holder }) => {
      const volume = locks.map(({ name }) => parseLockName(name)).find((use) => use)?.volume;
      return volume === undefined ? [] : [formerLock(volume, holder.host, token)];
    });
}

/** True for a process of this boot that is known to have ended: its state directory is no copy. */
function hasEndedHere(process: ProcessIdentity): boolean {
  const self = thisProcess();
  return process.boot === self.boot && isRunning(process, self) === false;
}

function formerLock(volume: string, host: string, token: number): Condition {
  const message =
    `the volume ${volume} (failover=manual) is locked by host ${host}, which is a former name of this machine ` +
    `or of a copy of it; if no machine is called ${host} any more: berth lock clear ${volume} --token ${token}`;
  return { severity: 'warning', message };
}

function machineOf(identity: string): string {
  return identity.slice(0, identity.indexOf('.'));
}
