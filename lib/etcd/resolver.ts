import { experimental, Metadata, status } from '@grpc/grpc-js';
import { messageOf } from '../running/message-of.ts';
import { MemberAddresses } from './addresses.ts';

/** The scheme of the targets that this resolver resolves: `berth-etcd:HOST:PORT`, with the first endpoint. */
const scheme = 'berth-etcd';

/** The channel option that has the MemberAddresses. */
const addressesOption = 'berth.addresses';

/** Names are not looked up more often. */
const pauseMs = 1_000;

type Listener = experimental.ResolverListener;

/**
 * Resolves all members of a cluster for one gRPC channel, which then finds a live one. gRPC's own address lists
 * take addresses of one family, and resolve nothing again; gRPC asks this one again after each failure to
 * connect.
 */
class MemberResolver implements experimental.Resolver {
  readonly #addresses: MemberAddresses;
  readonly #listener: Listener;
  #isDestroyed = false;
  #isRunning = false;
  /** The time of the last answer. */
  #last = Number.NEGATIVE_INFINITY;

  constructor(_target: unknown, listener: Listener, options: Readonly<Record<string, unknown>>) {
    const addresses = options[addressesOption];
    if (!(addresses instanceof MemberAddresses)) throw new Error('the channel has no members');
    this.#addresses = addresses;
    this.#listener = listener;
  }

  updateResolution(): void {
    this.#isDestroyed = false;
    if (this.#isRunning) return;
    this.#isRunning = true;
    // gRPC asks again at once when no address of the last answer can be connected to.
    const waitMs = Math.max(0, this.#last + pauseMs - performance.now());
    setTimeout(() => void this.#resolve(), waitMs).unref();
  }

  destroy(): void {
    this.#isDestroyed = true;
  }

  async #resolve(): Promise<void> {
    const found = await this.#addresses.resolve().catch((error: Error) => error);
    this.#isRunning = false;
    this.#last = performance.now();
    if (this.#isDestroyed) return;
    if (found instanceof Error) {
      const error = {
        code: status.UNAVAILABLE,
        details: messageOf(found),
        metadata: new Metadata(),
      };
      this.#listener({ ok: false, error }, {}, null, '');
      return;
    }
    const value = found.map((address) => ({ addresses: [address] }));
    this.#listener({ ok: true, value }, {}, null, '');
  }

  static getDefaultAuthority({ path }: { readonly path: string }): string {
    return path;
  }
}

/** Returns the target and the options of a channel to all members. */
export function memberTarget(addresses: MemberAddresses, first: string) {
  experimental.registerResolver(scheme, MemberResolver);
  return { target: `${scheme}:${first}`, options: { [addressesOption]: addresses } };
}
