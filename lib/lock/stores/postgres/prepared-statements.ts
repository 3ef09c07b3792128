import { createHash } from 'node:crypto';

/** A statement, and the name by which a connection keeps it prepared. */
export interface NamedStatement {
  readonly text: string;
  readonly name?: string;
}

/**
 * Names the statements with values, which each connection prepares once: the server then neither parses nor plans
 * them again. A pooler that gives each transaction another connection does not know them there, or has prepared
 * those of another client there: so a name tells the whole text (also the schema), and never stands for another one.
 */
export class PreparedStatements {
  readonly #names = new Map<string, string>();
  #isGivenUp = false;

  named(text: string, values: readonly unknown[]): NamedStatement {
    if (this.#isGivenUp || values.length === 0) return { text };
    const name = this.#names.get(text) ?? nameOf(text);
    this.#names.set(text, name);
    return { text, name };
  }

  /** Prepares no further statement, because the server did not know one that was prepared. */
  giveUp(): void {
    this.#isGivenUp = true;
  }
}

/** Returns 49 bytes; the server knows names by their first 63. */
function nameOf(text: string): string {
  return `berth_${createHash('sha256').update(text).digest('base64url')}`;
}
