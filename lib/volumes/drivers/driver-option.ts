/** A `-o` option of a driver. */
export interface DriverOption {
  /** One line for people: what it means, its unit and its default. */
  readonly help: string;
  /**
   * Says what a copy (`-o from=`) has:
   * - `same`: what its source has; it can't be given for a copy.
   * - `inherited`: what is given, else what its source has. It says how the volume is used, so it can be
   *   changed later, and the next Mount follows.
   * - `given`: what is given, else nothing. It says how a volume's content begins, so it can't be given for
   *   storage whose content is adopted either.
   */
  readonly inCopies: 'same' | 'inherited' | 'given';
}

export type DriverOptions = Readonly<Record<string, DriverOption>>;

/** Returns the names of the options that can be changed after Create. */
export function changeableNames(known: DriverOptions): string[] {
  return Object.keys(known).filter((name) => known[name]?.inCopies === 'inherited');
}

/** Returns those of a volume's options that a copy of it has, unless others are given. */
export function optionsOfCopies(
  known: DriverOptions,
  options: Readonly<Record<string, string>>,
): Record<string, string> {
  return Object.fromEntries(
    Object.entries(options).filter(([name]) => known[name]?.inCopies !== 'given'),
  );
}
