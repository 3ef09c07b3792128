/** This user can't be stopped, or not from here. The message says why and what to do. */
export class UnstoppableError extends Error {
  readonly code = 'unstoppable';
  override readonly name = 'UnstoppableError';
}
