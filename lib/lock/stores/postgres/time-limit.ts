/** The time that one call to the database may take, from when this is made. */
export class TimeLimit implements Disposable {
  readonly #expiry = Promise.withResolvers<never>();
  readonly #timer: NodeJS.Timeout;
  #isOver = false;

  constructor(ms: number, makeError: () => Error) {
    this.#expiry.promise.catch(() => {}); // Nobody may be racing when it passes.
    this.#timer = setTimeout(() => {
      this.#isOver = true;
      this.#expiry.reject(makeError());
    }, ms);
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** As `work`, or rejects once the time is up; what `work` comes to then is ignored. */
  race<T>(work: Promise<T>): Promise<T> {
    return Promise.race([work, this.#expiry.promise]);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}
