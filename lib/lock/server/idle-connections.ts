import type { Socket } from 'node:net';

/**
 * The connections of a server without a request that may ask: they have sent none yet, or only what was refused, or
 * wait for the next. There are at most so many: another ends the oldest.
 */
export class IdleConnections {
  readonly #most: number;
  /** Sockets in the order in which they became idle. */
  readonly #sockets = new Map<string, Socket>();
  /** How many requests each connection has that have no end yet. */
  readonly #running = new Map<string, number>();
  /** Sockets with a listener for their end: a connection is idle many times. */
  readonly #followed = new WeakSet<Socket>();

  constructor(most: number) {
    this.#most = most;
  }

  /**
   * Records that a request on this connection begins; the result records its end. A client may send several before it has
   * an answer: after the end of the last one, the connection is idle.
   */
  begin(socket: Socket): () => void {
    const name = nameOf(socket);
    this.#running.set(name, (this.#running.get(name) ?? 0) + 1);
    return () => {
      const left = (this.#running.get(name) ?? 1) - 1;
      if (left > 0) {
        this.#running.set(name, left);
      } else {
        this.#running.delete(name);
        this.add(socket);
      }
    };
  }

  /** Records that a connection is idle; ends the one that has been idle longest if there are too many. */
  add(socket: Socket): void {
    const name = nameOf(socket);
    if (socket.destroyed || this.#sockets.has(name)) return;
    this.#sockets.set(name, socket);
    if (!this.#followed.has(socket)) socket.once('close', () => this.#forget(name, socket));
    this.#followed.add(socket);
    const [oldest] = this.#sockets;
    if (this.#sockets.size > this.#most && oldest) {
      this.#sockets.delete(oldest[0]);
      oldest[1].destroy();
    }
  }

  /** Records that a request on this connection may ask. */
  accepted(socket: Socket): void {
    this.#sockets.delete(nameOf(socket));
  }

  #forget(name: string, socket: Socket): void {
    if (this.#sockets.get(name) === socket) this.#sockets.delete(name);
  }
}

/** A connection with TLS has two sockets, which have one address. */
function nameOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
}
