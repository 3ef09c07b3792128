import createDebug from 'debug';
import { messageOf } from '../running/message-of.ts';
import type { LearntMember, MemberList } from './member-list.ts';
import { endpointOf, hostOf, isLoopback } from './member-list.ts';

const log = createDebug('berth:etcd');

/** The part of a cluster that is remembered over restarts. */
export interface RememberedMembers {
  /** The number of the cluster. */
  readonly cluster: string;
  readonly members: readonly LearntMember[];
}

export interface MemberMemory {
  readonly before: RememberedMembers | undefined;
  save(members: RememberedMembers): Promise<void>;
}

/** A member of the cluster, as the cluster lists it. */
export interface ListedMember {
  readonly id: string;
  readonly urls: readonly string[];
}

export interface LearntMembersOptions {
  readonly list: MemberList;
  readonly isSecure: boolean;
  readonly memory: MemberMemory;
  /** Asks the cluster for its members. */
  readonly ask: () => Promise<{
    readonly cluster: string;
    readonly members: readonly ListedMember[];
  }>;
  /** Asks whoever is at an endpoint for its member number and its cluster's; rejects if nobody answers. */
  readonly probe: (endpoint: string) => Promise<{ readonly id: string; readonly cluster: string }>;
  /** Counts what a change of the members can look like, such as broken connections. */
  readonly doubts: () => number;
  /** Milliseconds between two looks at whether the cluster has to be asked again. Default 5,000. */
  readonly pauseMs?: number;
}

/** The cluster is asked at least so often, because a member can be replaced without a sign here. */
const askAgainMs = 60_000;

/**
 * Learns from the cluster where its members are, so that a cluster is found whose members were all replaced or moved
 * one after the other since the settings were made.
 *
 * An address is used only after the member that it should be has answered there, as a member of this cluster: what a
 * member advertises may be wrong here, and another cluster may have a remembered address by now. If all configured
 * addresses are loopback addresses, nothing is learnt: etcd is then reached through this machine on purpose.
 */
export class LearntMembers implements Disposable {
  readonly #options: LearntMembersOptions;
  readonly #timer: NodeJS.Timeout | undefined;
  /** Members that were remembered and have not answered yet. */
  #remembered: readonly LearntMember[];
  /** The members that are remembered over restarts now, as text. */
  #saved: string;
  #isBusy = false;
  #lastAsked = Number.NEGATIVE_INFINITY;
  #lastDoubts = -1;

  constructor(options: LearntMembersOptions) {
    this.#options = options;
    const { before } = options.memory;
    this.#remembered = before?.members ?? [];
    this.#saved = JSON.stringify(before);
    if (options.list.configured.every((endpoint) => isLoopback(hostOf(endpoint)))) return;
    this.#timer = setInterval(() => void this.#step(), options.pauseMs ?? 5_000);
    this.#timer.unref();
    void this.#step();
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  /** Never rejects. */
  async #step(): Promise<void> {
    if (this.#isBusy) return;
    this.#isBusy = true;
    try {
      const doubts = this.#options.doubts();
      const isDue = performance.now() - this.#lastAsked > askAgainMs;
      if (isDue || doubts !== this.#lastDoubts) {
        await Promise.all([this.#recall(), this.#refresh()]);
        this.#lastAsked = performance.now();
        this.#lastDoubts = doubts;
      }
    } catch (error) {
      log('the members of etcd are not known yet: %s', messageOf(error));
    } finally {
      this.#isBusy = false;
    }
  }

  /** Uses what was remembered, as far as it is still of the same cluster. */
  async #recall(): Promise<void> {
    const { list, memory } = this.#options;
    const cluster = memory.before?.cluster ?? '';
    const there = await this.#thoseThere(cluster, this.#remembered);
    if (there.length === 0) return;
    this.#remembered = this.#remembered.filter((member) => !there.includes(member));
    log('using remembered members of etcd: %o', there);
    list.learn([...list.learnt, ...there]);
  }

  /** Asks the cluster, and keeps what it says over restarts. */
  async #refresh(): Promise<void> {
    const { list, isSecure, ask, memory } = this.#options;
    const { cluster, members } = await ask();
    const named = members.flatMap(({ id, urls }) =>
      urls.flatMap((url) => {
        const endpoint = endpointOf(url, isSecure);
        if (endpoint === undefined || list.configured.includes(endpoint)) return [];
        return [{ id, endpoint }];
      }),
    );
    // The cluster itself confirms what was remembered, also of a member that is down now.
    const ofBefore = memory.before?.cluster === cluster ? memory.before.members : [];
    const known = [...list.learnt, ...ofBefore];
    const isKnown = (member: LearntMember) => known.some((each) => isSame(each, member));
    const fresh = named.filter((member) => !isKnown(member));
    const learnt = [...named.filter(isKnown), ...(await this.#thoseThere(cluster, fresh))];
    this.#remembered = [];
    list.learn(learnt);
    await this.#save({ cluster, members: learnt });
  }

  async #save(members: RememberedMembers): Promise<void> {
    const text = JSON.stringify(members);
    if (text === this.#saved) return;
    log('the members of etcd are %s', text);
    await this.#options.memory.save(members);
    this.#saved = text;
  }

  /** Returns those who answer as the member that they should be. */
  async #thoseThere(
    cluster: string,
    members: readonly LearntMember[],
  ): Promise<readonly LearntMember[]> {
    const answers = await Promise.all(
      members.map((member) => this.#options.probe(member.endpoint).catch(() => undefined)),
    );
    return members.filter((member, index) => {
      const answer = answers[index];
      return answer?.id === member.id && answer.cluster === cluster;
    });
  }
}

function isSame(a: LearntMember, b: LearntMember): boolean {
  return a.id === b.id && a.endpoint === b.endpoint;
}
