import createDebug from 'debug';
import { LockClearRefusedError } from '../errors.ts';
import type { Lock } from '../lock.ts';
import type { LockManager } from '../lock-manager.ts';
import type { LockOptions } from '../locks.ts';
import type { Gate, Ticket } from '../ticket.ts';
import { KeptLock } from './kept-lock.ts';
import type {
  ClearRequest,
  KeepOptions,
  LockClearer,
  LockService,
  UseLockOptions,
} from './lock-service.ts';
import type { UseLocker } from './use.ts';
import { facets, lockName, lockRequest, parseLockName, reasons } from './use.ts';

const log = createDebug('berth:lock');

/** How long `disable` and `enable` wait for the mirror to show their change. */
const mirrorPatienceMs = 1_000;

/** Implements the locks of volumes on a LockManager. */
export class LockDriver implements LockService, LockClearer {
  readonly #manager: LockManager;
  readonly #timeoutMs: number;

  /** `timeoutMs`: the wait limit of requests without one of their own. */
  constructor(manager: LockManager, timeoutMs: number) {
    this.#manager = manager;
    this.#timeoutMs = timeoutMs;
  }

  executeWithUseLock<T>(
    use: UseLocker,
    options: UseLockOptions,
    work: (lock: Lock) => Promise<T>,
  ): Promise<T> {
    return this.executeWithMultiUseLock([use], options, work);
  }

  executeWithMultiUseLock<T>(
    uses: readonly UseLocker[],
    options: UseLockOptions,
    work: (lock: Lock) => Promise<T>,
  ): Promise<T> {
    return this.#manager.withLock(uses.map(lockRequest), this.#options(uses, options), work);
  }

  async acquireWithTTLRefresh(use: UseLocker, options: KeepOptions): Promise<KeptLock> {
    const lock = await this.#manager.lock([lockRequest(use)], {
      ...this.#options([use], options),
      ...(options.expires === false && { ttlMs: Number.POSITIVE_INFINITY }),
      ...(options.mark !== undefined && { mark: options.mark }),
      ...(options.claim && { claim: options.claim }),
      ...(options.readBelow !== undefined && { readBelow: options.readBelow }),
      proof: options.proof,
    });
    return new KeptLock(lock, this.#manager, options.onChange);
  }

  async resume(ticket: Ticket, onChange: KeepOptions['onChange']): Promise<KeptLock | undefined> {
    const lock = await this.#manager.attach(ticket);
    return lock && new KeptLock(lock, this.#manager, onChange);
  }

  async clearLock({ volume, token, force }: ClearRequest): Promise<Ticket> {
    const mount = await this.#manager.inspect(lockName('mount', volume));
    const snapshot = await this.#manager.inspect(lockName('snapshot', volume));
    const all = new Map([...mount, ...snapshot].map((ticket) => [ticket.nonce, ticket]));
    const tickets = [...all.values()].sort((a, b) => a.token - b.token);
    // Requests of one host that share an etcd transaction have the same token.
    const chosen = tickets.filter((ticket) => ticket.token === token);
    const [ticket] = chosen;
    if (!ticket) throw LockClearRefusedError.notThere(volume, token, tickets);
    if (!force && (await this.#manager.isAlive(ticket))) {
      throw LockClearRefusedError.holderIsAlive(volume, ticket);
    }
    for (const each of chosen) await this.#manager.breakLock(each);
    log('cleared volume=%s token=%d host=%s reason=Maintenance', volume, token, ticket.holder.host);
    return ticket;
  }

  async disable(volume: string, options: { readonly why?: string }): Promise<readonly Gate[]> {
    for (const facet of facets) await this.#manager.disable(lockName(facet, volume), options);
    await this.#mirrored(() => this.gates(volume).length === facets.length);
    return gatesOf(volume, await this.#manager.gates());
  }

  async enable(volume: string): Promise<readonly Gate[]> {
    const closed = gatesOf(volume, await this.#manager.gates());
    for (const gate of closed) await this.#manager.enable(gate.lockName);
    await this.#mirrored(() => this.gates(volume).length === 0);
    return closed;
  }

  gates(volume?: string): readonly Gate[] {
    const { mirror } = this.#manager;
    if (volume !== undefined) {
      return facets.flatMap((facet) => mirror.gate(lockName(facet, volume)) ?? []);
    }
    return gatesOf(undefined, [...mirror.gates()]).sort((a, b) =>
      a.lockName < b.lockName ? -1 : 1,
    );
  }

  tickets(volume?: string): readonly Ticket[] {
    return this.#manager.mirror
      .tickets()
      .filter(({ locks }) => locks.some(({ name }) => isOf(volume, name)));
  }

  /** Waits for the mirror, so that the next read on this host shows the change; not for ever. */
  async #mirrored(isSo: () => boolean): Promise<void> {
    if (isSo()) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    using _listening = this.#manager.mirror.listen(() => isSo() && resolve());
    const limit = setTimeout(resolve, mirrorPatienceMs);
    await promise;
    clearTimeout(limit);
  }

  #options(uses: readonly UseLocker[], options: UseLockOptions): LockOptions {
    const [first] = uses;
    if (!first) throw new RangeError('a use lock needs at least one use');
    return {
      kind: first.kind,
      reason: reasons[first.kind],
      ...(first.kind === 'remove' && { freesSpace: true }),
      signal: options.signal,
      timeoutMs: options.timeoutMs ?? this.#timeoutMs,
      ...(options.detail === undefined ? {} : { detail: options.detail }),
      ...(options.read !== undefined && { read: options.read }),
      ...(options.onWait ? { onWait: options.onWait } : {}),
    };
  }
}

function gatesOf(volume: string | undefined, gates: readonly Gate[]): Gate[] {
  return gates.filter((gate) => isOf(volume, gate.lockName));
}

/** True if a lock belongs to the volume, or to any volume if none is given. */
function isOf(volume: string | undefined, name: string): boolean {
  const parsed = parseLockName(name);
  return parsed !== undefined && (volume === undefined || parsed.volume === volume);
}
