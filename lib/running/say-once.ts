/** Hands on a complaint when it differs from the one before, so that a lasting fault is said once. */
export class SayOnce {
  readonly #say: (complaint: string) => void;
  #last: string | undefined;

  constructor(say: (complaint: string) => void) {
    this.#say = say;
  }

  /** The complaint that stands; undefined when all is well. */
  get last(): string | undefined {
    return this.#last;
  }

  say(complaint: string): void {
    if (complaint === this.#last) return;
    this.#last = complaint;
    this.#say(complaint);
  }

  /** Call when all is well: the next complaint is said again, even the same one. */
  clear(): void {
    this.#last = undefined;
  }
}

/** One `SayOnce` for each subject, such as a volume. */
export class SayOnceEach {
  readonly #say: (subject: string, complaint: string) => void;
  readonly #subjects = new Map<string, SayOnce>();

  constructor(say: (subject: string, complaint: string) => void) {
    this.#say = say;
  }

  say(subject: string, complaint: string): void {
    const known = this.#subjects.get(subject);
    const once = known ?? new SayOnce((text) => this.#say(subject, text));
    if (!known) this.#subjects.set(subject, once);
    once.say(complaint);
  }

  /** Forgets the subject: its next complaint is said again, even the same one. */
  clear(subject: string): void {
    this.#subjects.delete(subject);
  }
}
