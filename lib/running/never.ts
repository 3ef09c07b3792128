/** A signal that never aborts: for work that nobody cancels. */
export const never: AbortSignal = new AbortController().signal;
