import type { HistorySigns } from '../../../lib/lock/stores/history-source.ts';

/** The signs of another history that a connection sees: it broke, or an answer does not fit. */
export class ConnectionSigns implements HistorySigns {
  #cluster: string | undefined;
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

  begin(cluster: string, revision: number): void {
    this.#cluster = cluster;
    this.#revision = revision;
  }

  /** `floor`: the highest revision that was seen when the request was sent. */
  heard(cluster: string, revision: number, floor: number): void {
    if (this.#cluster !== undefined && (cluster !== this.#cluster || revision < floor)) {
      this.suspect();
    } else {
      this.#revision = Math.max(this.#revision, revision);
    }
  }
}
