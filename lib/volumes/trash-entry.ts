/** Names one removed volume. */
export interface TrashEntry {
  /** The name that the volume had. */
  readonly volume: string;
  /** Tells the removed volumes of one name apart: letters and digits. */
  readonly id: string;
}

/** Returns the name of an entry, as people write it: `db@3f9a0c`. */
export function formatEntry({ volume, id }: TrashEntry): string {
  return `${volume}@${id}`;
}

/** Reads the name of an entry; undefined for any other text. The parts are safe in a path. */
export function parseEntry(text: string): TrashEntry | undefined {
  const [, volume, id] = /^([A-Za-z0-9][A-Za-z0-9_.-]{0,127})@([a-z0-9]{1,64})$/.exec(text) ?? [];
  return volume !== undefined && id !== undefined ? { volume, id } : undefined;
}
