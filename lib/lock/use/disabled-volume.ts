import type { Gate } from '../ticket.ts';
import type { Facet } from './use.ts';
import { parseLockName } from './use.ts';

/** A volume with at least one closed gate. */
export interface DisabledVolume {
  readonly volume: string;
  /** The facets with a closed gate: both, unless the request that closed them was interrupted. */
  readonly facets: readonly Facet[];
  /** One of the closed gates, which says who closed it, when and why. */
  readonly gate: Gate;
}

/** Groups gates by volume. */
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
