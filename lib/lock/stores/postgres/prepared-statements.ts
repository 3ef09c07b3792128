/** A statement, and the name by which a connection keeps it prepared. */
export interface NamedStatement {
  readonly text: string;
  readonly name?: string;
}

/**
 * Names the statements with values, which each connection prepares once: the server then neither parses nor plans
 * them again. A pooler that gives each transaction another connection does not know them there.
 */
export class PreparedStatements {
  readonly #names = new Map<string, string>();
  #isGivenUp = false;

  named(text: string, values: readonly unknown[]): NamedStatement {
    if (this.#isGivenUp || values.length === 0) return { text };
    const name = this.#names.get(text) ?? `berth_${this.#names.size + 1}`;
    this.#names.set(text, name);
    return { text, name };
  }

  /** Prepares no further statement, because the server did not know one that was prepared. */
  giveUp(): void {
    this.#isGivenUp = true;
  }
}
