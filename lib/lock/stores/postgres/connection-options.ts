export interface ConnectionOptions {
  /**
   * `postgres://user:password@host:port/database`, with libpq's parameters, e.g.
   * `?sslmode=verify-full`. The URL's values win over the single options.
   */
  readonly url?: string | undefined;
  /** A name, an address, or the directory of a socket. */
  readonly host?: string | undefined;
  readonly port?: number | undefined;
  readonly user?: string | undefined;
  readonly password?: string | undefined;
  readonly database?: string | undefined;
  /** `true`: TLS, with the system's root certificates. Off when left out. */
  readonly ssl?: boolean | PostgresTls | undefined;
  /** A pool whose settings are used for the connections, in place of all above; its connections are not. */
  readonly pool?: PostgresPool | undefined;
  /** The limit of one step, from the call to the answer. Default 2,000. */
  readonly callTimeoutMs?: number | undefined;
}

/** A `pg.Pool`, as far as it is used here. */
export interface PostgresPool {
  /** The settings that the pool was made with. */
  readonly options: object;
}

/** PEM contents. Without `ca` the system's roots are trusted. */
export interface PostgresTls {
  readonly ca?: Buffer | undefined;
  readonly cert?: Buffer | undefined;
  readonly key?: Buffer | undefined;
}
