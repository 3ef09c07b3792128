/** The head of an answer of etcd, as far as it is used here. */
export interface AnswerHeader {
  readonly cluster_id: string;
  readonly member_id: string;
  readonly revision: string;
}

/**
 * Takes the header of every answer of etcd, and notices when the cluster behind the endpoints may be
 * another than before, or an older state of it.
 *
 * A **suspicion** is anything that another history of the cluster can look like: a cluster ID that is
 * not the known one, a revision below one that was seen before, a broken connection. Whoever needs to be
 * sure of the history looks closer after each.
 */
export class EtcdHeaders {
  #cluster: string | undefined;
  #revision = 0;
  #suspicions = 1;

  /** The highest revision that an answer had since `begin`. */
  get revision(): number {
    return this.#revision;
  }

  /** The number of suspicions so far; at the start there is one. */
  get suspicions(): number {
    return this.#suspicions;
  }

  /** From now on, answers are of this cluster, and of this revision or a later one. */
  begin(cluster: string, revision: number): void {
    this.#cluster = cluster;
    this.#revision = revision;
  }

  suspect(): void {
    this.#suspicions += 1;
  }

  /**
   * Takes the header of an answer. `floor`: the highest revision that was seen when the call was sent,
   * for a linearizable call, whose answer can't be older; 0 for any other, because the member that
   * answers may be behind.
   */
  heard(header: AnswerHeader | undefined, floor: number): void {
    if (!header) return;
    const revision = Number(header.revision);
    const isOther = this.#cluster !== undefined && header.cluster_id !== this.#cluster;
    if (isOther || revision < floor) this.suspect();
    else this.#revision = Math.max(this.#revision, revision);
  }
}
