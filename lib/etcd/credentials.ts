import type { Socket } from 'node:net';
import { isIP } from 'node:net';
import { CallCredentials, ChannelCredentials } from '@grpc/grpc-js';
import type { MemberAddresses } from './addresses.ts';
import type { EtcdTls } from './tls.ts';

const tls = process.getBuiltinModule('node:tls');

type Connector = ReturnType<ChannelCredentials['_createSecureConnector']>;

/**
 * TLS to the members of a cluster: each has to have a certificate for a name by which it was configured, also
 * where each member has a certificate of its own. gRPC's own credentials check one name for all addresses of a
 * channel.
 */
export class MemberCredentials extends ChannelCredentials {
  readonly #addresses: MemberAddresses;
  readonly #tls: () => Promise<EtcdTls>;

  /** `read` returns the certificates as they are now; it is asked at each connection. */
  constructor(addresses: MemberAddresses, read: () => Promise<EtcdTls>) {
    super();
    this.#addresses = addresses;
    this.#tls = read;
  }

  override _isSecure(): boolean {
    return true;
  }

  override _equals(other: ChannelCredentials): boolean {
    return this === other;
  }

  override _createSecureConnector(
    _target: unknown,
    _options: unknown,
    callCredentials = CallCredentials.createEmpty(),
  ): Connector {
    return {
      connect: async (socket) => ({ socket: await this.#secured(socket), secure: true }),
      waitForReady: async () => {},
      getCallCredentials: () => callCredentials,
      destroy: () => {},
    };
  }

  async #secured(socket: Socket): Promise<Socket> {
    const secured = Promise.withResolvers<Socket>();
    secured.promise.catch(() => {}); // It may reject while the certificates are read.
    socket.once('error', secured.reject);
    const { remoteAddress = '', remotePort = 0 } = socket;
    const names = this.#addresses.namesAt(remoteAddress, remotePort);
    const { ca, cert, key } = await this.#tls();
    const secureSocket = tls.connect({
      ...{ socket, ca, cert, key, ALPNProtocols: ['h2'] },
      // An IP address is no server name (RFC 6066, section 3).
      servername: names.find((name) => isIP(name) === 0) ?? '',
      checkServerIdentity: (_, certificate) => {
        const faults = names.map((name) => tls.checkServerIdentity(name, certificate));
        if (faults.includes(undefined)) return undefined;
        return faults[0] ?? new Error(`no member was configured at ${remoteAddress}`);
      },
    });
    secureSocket.once('secureConnect', () => secured.resolve(secureSocket));
    secureSocket.on('error', secured.reject);
    return await secured.promise;
  }
}
