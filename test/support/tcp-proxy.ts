import { once } from 'node:events';
import type { AddressInfo, Server, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

/**
 * What becomes of bytes on their way. `swallow`: they vanish, and a connection that has lost some
 * is dead for ever without either end being told. `hold`: they arrive when the network has healed.
 */
export type NetworkFault = 'none' | 'swallow' | 'hold' | { readonly delayMs: number };

/** A network in one place: it stands between a client and a server and now and then fails. */
export interface TcpProxy extends AsyncDisposable {
  /** Where clients connect: host:port. */
  readonly address: string;
  /** From now on, on all connections. `none` ends the fault, a cut too. */
  suffer(fault: NetworkFault): Promise<void>;
  /** Ends every connection, and refuses new ones until the next `suffer`. */
  cut(): Promise<void>;
  /** Breaks every connection with an RST; new ones are served. */
  reset(): void;
}

/** `target` is the server's host:port; it may be away. */
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
  /** Resolves when the fault has ended or become another. */
  healed: PromiseWithResolvers<void>;
}

/** One client's connection and the one made for it to the server. */
class Link {
  readonly #client: Socket;
  readonly #server: Socket;
  readonly #network: Network;
  #isDead = false;
  /** Resolves when nothing is open any more on either side. */
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

  /** Chunks overlap on their way, so that a delay adds up only once, but arrive in order. */
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
    // The end of a connection is news that has to travel, too. What went wrong is no matter of ours.
    from.on('error', () => {});
    from.on('close', () => afterAllBefore(() => to.destroy()));
  }

  /** Whether what is sent now arrives; resolves when it does. */
  async #passage(): Promise<boolean> {
    while (this.#network.fault === 'hold') await this.#network.healed.promise;
    const { fault } = this.#network;
    if (fault === 'swallow') this.#isDead = true;
    else if (typeof fault === 'object') await delay(fault.delayMs);
    return !this.#isDead;
  }
}

/** Resolves when it is closed, with or without an error. */
function closing(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.once('close', () => resolve()));
}
