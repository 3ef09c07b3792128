/** A text in the sources whose change breaks a promise. */
export interface Mutation {
  /** The promise, named as the checker names it where it can. */
  readonly promise: string;
  readonly file: string;
  readonly from: string;
  readonly to: string;
  /** The test that fails; without one, the simulation of the list does. */
  readonly test?: string;
}

export interface MutationList {
  readonly mutations: readonly Mutation[];
  /** The simulation that finds them, and its test. */
  readonly simulation: string;
  readonly test: string;
}
