import { readTable } from '../../lib/volumes/mounts/table-text.ts';

/** A row of a mount table, with its uses by mount ID. */
export interface StoredMount {
  readonly volume: string;
  readonly onLost: string;
  readonly mountIds: Readonly<Record<string, { readonly count: number }>>;
  readonly ticket: { readonly token: number };
}

/** Returns the rows that the text of a daemon's mount table stands for. */
export function storedMounts(text: string): StoredMount[] {
  return [...readTable(text).rows.values()].map((row) => ({
    ...row,
    mountIds: Object.fromEntries(row.mountIds),
  }));
}
