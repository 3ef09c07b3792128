import createDebug from 'debug';
import { messageOf } from '../lib/running/message-of.ts';
import { unknownVolume } from './demand.ts';
import type { MachineClock, MountedVolume, UserScan } from './ports.ts';
import type { SentinelState } from './state.ts';

const log = createDebug('berth:sentinel');

/** How often the volumes are looked for of users that an earlier sentinel holds: it is a whole scan. */
const pauseMs = 1_000;

/**
 * Takes over whom an earlier sentinel holds or has just released: its state may be lost, and the
 * kernel still knows them.
 */
export class Adoption {
  readonly #state: SentinelState;
  readonly #scan: Pick<UserScan, 'held'>;
  readonly #clock: Pick<MachineClock, 'now'>;
  /** False until it is known whom an earlier sentinel holds. */
  #isDone = false;
  #triedAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: {
    readonly state: SentinelState;
    readonly scan: Pick<UserScan, 'held'>;
    readonly clock: Pick<MachineClock, 'now'>;
  }) {
    this.#state = options.state;
    this.#scan = options.scan;
    this.#clock = options.clock;
  }

  /** Returns true if the last try has failed, or the volumes of a user are not known yet. */
  isDue(now: number): boolean {
    const isUnknown = [...this.#state.stopped.values()].some(({ user }) =>
      user.volumes.includes(unknownVolume),
    );
    return (isUnknown || !this.#isDone) && now - this.#triedAtMs >= pauseMs;
  }

  /** Records the users as stopped: they stand still until all their volumes may be used. */
  async run(volumes: readonly MountedVolume[]): Promise<void> {
    this.#triedAtMs = this.#clock.now();
    try {
      for (const user of await this.#scan.held(volumes)) {
        const known = this.#state.stopped.get(user.key);
        if (known && !known.user.volumes.includes(unknownVolume)) continue;
        const named = user.volumes.length > 0 ? user.volumes : [unknownVolume];
        this.#state.setStopped({ user: { ...user, volumes: named }, shown: 'asked' });
        if (!known) log('container %s stands still for an earlier sentinel', user.id ?? user.key);
      }
      this.#isDone = true;
    } catch (error) {
      log('ERROR what an earlier sentinel holds is not known: %s', messageOf(error));
    }
    this.#state.commit();
  }
}
