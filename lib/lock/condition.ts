/** Something about a store that a person should know. */
export interface Condition {
  /** `error`: locks can't be taken, or can't be trusted, until it is mended. */
  readonly severity: 'warning' | 'error';
  readonly message: string;
}
