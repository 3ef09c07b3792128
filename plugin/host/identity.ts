import { randomUUID } from 'node:crypto';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { readIfThere, replaceFile } from '../../lib/linux/state-file.ts';

/** Two hosts may have one name by mistake, and copies of a machine have one machine ID. */
export interface HostIdentity {
  /** The ID of the machine (machine-id(5)). */
  readonly machine: string;
  /** The host name given to berth. */
  readonly host: string;
}

/**
 * Returns the identity of this host. A machine without an ID (a container) gets one, which is kept in
 * the state directory.
 */
export async function hostIdentity(host: string, stateDir: string): Promise<HostIdentity> {
  const machine =
    (await readIfThere('/etc/machine-id')) ||
    (await readIfThere(join(stateDir, 'machine-id'))) ||
    (await newMachineId(join(stateDir, 'machine-id')));
  return { machine, host };
}

/** Returns the name by which locks and records know a host. */
export function nameOfIdentity({ machine, host }: HostIdentity): string {
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
