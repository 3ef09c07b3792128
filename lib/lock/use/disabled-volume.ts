import type { Gate } from '../ticket.ts';
import type { Facet } from './use.ts';
import { parseLockName } from './use.ts';

/** A volume of which at least one gate is closed. */
export interface DisabledVolume {
  readonly volume: string;
  /** Whose gates are closed: both, unless whoever closed them was interrupted. */
  readonly facets: readonly Facet[];
  /** One of the gates: who closed it, since when, and why. */
  readonly gate: Gate;
}

/** Puts the gates of each volume together. */
export function disabledVolumes(gates: readonly Gate[]): DisabledVolume[] {
  const byVolume = new Map<string, DisabledVolume>();
  for (const gate of gates) {
    const lock = parseLockName(gate.lockName);
    if (!lock) continue;
    const { volume, facet } = lock;
    const known = byVolume.get(volume) ?? { volume, facets: [], gate };
    byVolume.set(volume, { ...known, facets: [...known.facets, facet] });
  }
  return [...byVolume.values()];
}
