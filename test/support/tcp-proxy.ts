import { once } from 'node:events';
import type { AddressInfo, Server, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

/**
 * A fault of the network. `swallow`: bytes are dropped, and a connection that lost some carries
 * nothing more but stays open at both ends. `hold`: bytes arrive when the fault is over.
 */
export type NetworkFault = 'none' | 'swallow' | 'hold' | { readonly delayMs: number };

/** A TCP proxy between clients and a server that fails on demand. */
export interface TcpProxy extends AsyncDisposable {
  /** The address for clients: host:port. */
  readonly address: string;
  /** Applies a fault to all connections from now on. `none` ends any fault, a cut too. */
  suffer(fault: NetworkFault): Promise<void>;
  /** Ends every connection, and refuses new ones until the next `suffer`. */
  cut(): Promise<void>;
  /** Breaks every connection with an RST; new ones are served. */
  reset(): void;
}

/** Starts a proxy to `target`, the server's host:port. The server need not run. */
export async function startTcpProxy(target: string): Promise<TcpProxy> {
  const links = new Set<Link>();
  const network: Network = { fault: 'none', healed: Promise.withResolvers<void>() };
  let server: Server | undefined;
  let port = 0;

  async function open(): Promise<void> {
    if (server) return;
    server = createServer((client) => {
      const link = new Link(client, target, network);
      links.add(link);
      void link.ended.then(() => links.delete(link));
    });
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
    port = (server.address() as AddressInfo).port;
  }

  async function cut(): Promise<void> {
    if (!server) return;
    const closed = once(server, 'close');
    server.close();
    for (const link of links) link.end();
    server = undefined;
    await closed;
  }

  await open();
  return {
    address: `127.0.0.1:${port}`,
    suffer: async (fault) => {
      network.fault = fault;
      network.healed.resolve();
      network.healed = Promise.withResolvers();
      await open();
    },
    cut,
    reset: () => {
      for (const link of links) link.reset();
    },
    [Symbol.asyncDispose]: async () => {
      await cut();
      network.fault = 'none';
      network.healed.resolve();
      for (const link of links) link.end();
    },
  };
}

interface Network {
  fault: NetworkFault;
  /** Resolves when the fault ends or is replaced by another. */
  healed: PromiseWithResolvers<void>;
}

/** A client's connection and the matching connection to the server. */
class Link {
  readonly #client: Socket;
  readonly #server: Socket;
  readonly #network: Network;
  #isDead = false;
  /** Resolves when both connections are closed. */
  readonly ended: Promise<unknown>;

  constructor(client: Socket, target: string, network: Network) {
    const [host = '', port] = target.split(':');
    this.#client = client;
    this.#server = connect(Number(port), host);
    this.#network = network;
    this.ended = Promise.all([client, this.#server].map(closing));
    this.#carry(this.#client, this.#server);
    this.#carry(this.#server, this.#client);
  }

  end(): void {
    this.#client.destroy();
    this.#server.destroy();
  }

  reset(): void {
    this.#client.resetAndDestroy();
    this.#server.resetAndDestroy();
  }

  /** Forwards chunks in order. Their delays overlap, so that a delay does not add up per chunk. */
  #carry(from: Socket, to: Socket): void {
    let last = Promise.resolve();
    const afterAllBefore = (arrive: () => void) => {
      const passage = this.#passage();
      last = last.then(async () => {
        if (await passage) arrive();
      });
    };
    from.setNoDelay(true);
    from.on('data', (chunk) => afterAllBefore(() => to.write(chunk)));
    // The close of a connection is subject to the faults, too. The cause of the close does not
    // matter.
    from.on('error', () => {});
    from.on('close', () => afterAllBefore(() => to.destroy()));
  }

  /** Waits as long as a chunk sent now takes; returns whether it arrives. */
  async #passage(): Promise<boolean> {
    while (this.#network.fault === 'hold') await this.#network.healed.promise;
    const { fault } = this.#network;
    if (fault === 'swallow') this.#isDead = true;
    else if (typeof fault === 'object') await delay(fault.delayMs);
    return !this.#isDead;
  }
}

/** Resolves when the socket is closed, with or without an error. */
function closing(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.once('close', () => resolve()));
}
