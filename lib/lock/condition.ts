/** A fault of the locks or their store that a person should know of. */
export interface Condition {
  /** `error`: locks can't be taken, or can't be trusted, until somebody repairs the fault. */
  readonly severity: 'warning' | 'error';
  readonly message: string;
}
