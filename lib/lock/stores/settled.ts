/**
 * Takes a step, and returns the function that reports its outcome: a store that writes several steps
 * at once calls it when they are written, so that nobody learns of a step that was not.
 */
export function settled<T>(
  step: () => T,
  resolve: (value: T) => void,
  reject: (error: unknown) => void,
): () => void {
  try {
    const value = step();
    return () => resolve(value);
  } catch (error) {
    return () => reject(error);
  }
}
