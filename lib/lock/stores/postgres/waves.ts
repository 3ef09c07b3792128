import type { Touches } from '../touches.ts';

/**
 * Divides steps into waves. The steps of a wave are independent, and each comes after all earlier steps that it
 * depends on. A step that does not say what it touches has a wave of its own, between those before and after it.
 */
export function wavesOf<Step extends { readonly touches: Touches | undefined }>(
  steps: readonly Step[],
): (readonly Step[])[] {
  const waves: Step[][] = [];
  /** The last wave that reads, and that writes, a name. */
  const reading = new Map<string, number>();
  const writing = new Map<string, number>();
  let first = 0;
  for (const step of steps) {
    const { reads, writes } = step.touches ?? { reads: [], writes: [] };
    const before = [
      ...[...reads, ...writes].map((name) => writing.get(name) ?? -1),
      ...writes.map((name) => reading.get(name) ?? -1),
    ];
    const index = step.touches ? Math.max(first, ...before.map((wave) => wave + 1)) : waves.length;
    if (!step.touches) first = index + 1;
    for (const name of reads) reading.set(name, Math.max(index, reading.get(name) ?? -1));
    for (const name of writes) writing.set(name, index);
    const wave = waves[index];
    if (wave) wave.push(step);
    else waves.push([step]);
  }
  return waves;
}
