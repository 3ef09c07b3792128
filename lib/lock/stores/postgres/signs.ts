import type { HistorySigns } from '../history-source.ts';
import { HistoryUnverifiedError } from '../store-history.ts';

/**
 * The signs by which a database may have another history than before: a new connection, which may lead to
 * another server; an answer with the ID of another history; a revision that went back.
 */
export class PostgresSigns implements HistorySigns {
  /** True if no suspicion has come up since the last look. */
  isVerified: () => boolean = () => true;
  /** Returns the ID of the history that answers have to be of; undefined: none is known yet. */
  historyId: () => string | undefined = () => undefined;
  #revision = 0;
  #suspicions = 1;

  get revision(): number {
    return this.#revision;
  }

  get suspicions(): number {
    return this.#suspicions;
  }

  suspect(): void {
    this.#suspicions += 1;
  }

  begin(_cluster: string, revision: number): void {
    this.#revision = revision;
  }

  /** Throws HistoryUnverifiedError if a suspicion has come up since the last look. */
  requireVerified(): void {
    if (!this.isVerified()) throw new HistoryUnverifiedError('the history has to be verified');
  }

  /**
   * Takes what a step has read; throws HistoryUnverifiedError if it is not of the known history. `floor`: the
   * highest revision that was seen when the step was sent.
   */
  heard(historyId: string | undefined, revision: number, floor: number): void {
    const expected = this.historyId();
    if (expected !== undefined && (historyId !== expected || revision < floor)) {
      this.suspect();
      this.requireVerified();
    }
    this.#revision = Math.max(this.#revision, revision);
  }
}
