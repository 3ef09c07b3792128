const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;

/** Returns a size as `1 GiB`, `1.5 MiB`, `512 B`: at most one decimal. */
export function humanSize(bytes: number): string {
  let value = bytes;
  let index = 0;
  // From 1023.95 on, one decimal would show 1024.0 of the smaller unit.
  while (value >= 1023.95 && index < units.length - 1) {
    value /= 1024;
    index++;
  }
  return `${Number(value.toFixed(1))} ${units[index]}`;
}
