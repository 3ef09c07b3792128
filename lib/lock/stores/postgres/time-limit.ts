/** The limit of one call to the database, from the creation of this object. */
export class TimeLimit implements Disposable {
  readonly #expiry = Promise.withResolvers<never>();
  readonly #timer: NodeJS.Timeout;
  #isOver = false;

  constructor(ms: number, makeError: () => Error) {
    this.#expiry.promise.catch(() => {}); // The limit may pass when nobody races against it.
    this.#timer = setTimeout(() => {
      this.#isOver = true;
      this.#expiry.reject(makeError());
    }, ms);
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** Resolves as `work`, or rejects when the time is up and ignores the outcome of `work`. */
  race<T>(work: Promise<T>): Promise<T> {
    return Promise.race([work, this.#expiry.promise]);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}
