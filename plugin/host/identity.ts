import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { readIfThere, replaceFile } from '../../lib/linux/state-file.ts';

/**
 * What tells this host from all others: the machine's id together with the host name given to
 * berth. A name alone could be given twice by mistake. Where the machine has no id (a container),
 * one is made and kept in the state directory.
 */
export async function hostIdentity(host: string, stateDir: string): Promise<string> {
  const machine =
    (await readIfThere('/etc/machine-id')) ||
    (await readIfThere(join(stateDir, 'machine-id'))) ||
    (await newMachineId(join(stateDir, 'machine-id')));
  return `${machine}.${host}`;
}

async function newMachineId(path: string): Promise<string> {
  const id = randomUUID().replaceAll('-', '');
  await replaceFile(path, id);
  return id;
}
