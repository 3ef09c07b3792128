const mostNames = 5;

/** Returns names for people: the first five, and how many more there are. */
export function someNames(names: readonly string[]): string {
  const more = names.length - mostNames;
  return names.slice(0, mostNames).join(', ') + (more > 0 ? ` and ${more} more` : '');
}
