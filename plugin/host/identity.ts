import { randomUUID } from 'node:crypto';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { readIfThere, replaceFile } from '../../lib/linux/state-file.ts';

/**
 * Returns the identity of this host: the machine's ID and the host name given to berth. Two hosts
 * may have one name by mistake. A machine without an ID (a container) gets one, which is kept in
 * the state directory.
 */
export async function hostIdentity(host: string, stateDir: string): Promise<string> {
  const machine =
    (await readIfThere('/etc/machine-id')) ||
    (await readIfThere(join(stateDir, 'machine-id'))) ||
    (await newMachineId(join(stateDir, 'machine-id')));
  return `${machine}.${host}`;
}

/** Returns the addresses under which other machines may reach this one, as the kernel lists them. */
export function hostAddresses(): string[] {
  return Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .filter(({ internal, scopeid = 0 }) => !internal && scopeid === 0)
    .map(({ address }) => address);
}

async function newMachineId(path: string): Promise<string> {
  const id = randomUUID().replaceAll('-', '');
  await replaceFile(path, id);
  return id;
}
