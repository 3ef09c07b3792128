import type { Snapshot, VolumeRecord } from '../volume.ts';

/*
 * Which snapshot each snapshot descends from. A record names the snapshot that the volume's content descends
 * from: the last one taken, or the one restored since. It is the parent of the next one.
 *
 *     monday ◄── tuesday        restore monday, take wednesday:      monday ◄── tuesday
 *                   ▲ content                                           ▲── wednesday ◄ content
 */

type Lineage = Pick<VolumeRecord, 'snapshots' | 'head'>;

/** Returns the change of a record whose volume has a new snapshot. */
export function withSnapshot({ snapshots, head }: Lineage, taken: Snapshot): Lineage {
  const snapshot = { ...taken, ...(head !== undefined && { parent: head }) };
  return { snapshots: [...snapshots, snapshot], head: taken.name };
}

/** Returns the change of a record without a snapshot, whose children descend from its parent then. */
export function withoutSnapshot({ snapshots, head }: Lineage, name: string): Lineage {
  const parent = snapshots.find((snapshot) => snapshot.name === name)?.parent;
  const adopted = (of: string | undefined) => (of === name ? parent : of);
  return {
    snapshots: snapshots
      .filter((snapshot) => snapshot.name !== name)
      .map((snapshot) => ({ ...snapshot, parent: adopted(snapshot.parent) })),
    head: adopted(head),
  };
}
