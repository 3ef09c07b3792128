import type { VolumeDriver } from '../drivers/driver.ts';
import type { TakeoverAbility } from '../drivers/takeover.ts';
import { InvalidRequestError } from '../errors.ts';
import type { VolumeFencing } from '../service.ts';
import type { VolumeRecord } from '../volume.ts';

/** How a takeover of a volume is made. */
export type TakeoverWay = 'takeover' | 'command' | 'full-copy' | 'none';

export type FencedRecord = Pick<VolumeRecord, 'driver' | 'access' | 'onLost' | 'fencing'>;

export interface FencingOptions {
  readonly drivers: ReadonlyMap<string, VolumeDriver>;
  /** The operator's fence command. */
  readonly command?: string | undefined;
  /** False: no other host can use the store, so there is never a former owner. */
  readonly hasOtherHosts: boolean;
}

/** Says what the fencing of each volume is, from its options, its driver, the pool and the settings. */
export class Fencing {
  readonly #options: FencingOptions;
  /** The abilities that are known, by driver. */
  readonly #abilities = new Map<string, TakeoverAbility>();

  constructor(options: FencingOptions) {
    this.#options = options;
  }

  /** Learns what a takeover means in a driver's pool, which must be this cluster's. */
  async learn(driver: string, options = { isNeeded: true }): Promise<void> {
    if (this.#abilities.has(driver)) return;
    const ability = await this.#options.drivers.get(driver)?.takeover?.ability(options);
    if (ability !== undefined) this.#abilities.set(driver, ability);
  }

  /** Throws InvalidRequestError if the volume asks for fencing that it can't have. */
  async require(volume: FencedRecord): Promise<void> {
    await this.learn(volume.driver);
    if (volume.fencing !== 'storage' || this.of(volume).level === 'storage') return;
    throw new InvalidRequestError(
      `fencing=storage is not possible for this volume: driver ${volume.driver} can't keep a former ` +
        "host's writes away, and there is no fence command; give berth one (fence-command), use " +
        'driver=image, or leave fencing out',
    );
  }

  /** How the writes of a former owner are kept away after an unclean end. */
  way(volume: FencedRecord): TakeoverWay {
    if (isUnfenced(volume) || volume.fencing === 'host') return 'none';
    const hasTakeover = this.#options.drivers.get(volume.driver)?.takeover !== undefined;
    const ability = this.#abilities.get(volume.driver);
    if (hasTakeover && ability === 'at-once') return 'takeover';
    if (this.#options.command !== undefined) return 'command';
    return hasTakeover && volume.fencing === 'storage' ? 'full-copy' : 'none';
  }

  /** Returns the fencing of a volume, for people. */
  of(volume: FencedRecord): VolumeFencing {
    if (volume.access === 'shared') return { level: 'none', means: means.shared };
    if (volume.onLost === 'keep') return { level: 'none', means: means.kept };
    const way = this.way(volume);
    if (way !== 'none') return { level: 'storage', means: means[way] };
    if (!this.#options.hasOtherHosts) return { level: 'host', means: means.alone };
    return { level: 'host', means: volume.fencing === 'host' ? means.chosen : means.host };
  }
}

/** No host waits for another's end: nothing is taken over either. */
function isUnfenced({ access, onLost }: FencedRecord): boolean {
  return access === 'shared' || onLost === 'keep';
}

const means = {
  takeover: 'the next host takes over onto a clone; what a former host still writes goes aside',
  command: 'the fence command ends a former host before the next one mounts',
  'full-copy':
    'the next host takes over onto a full copy; what a former host still writes goes aside',
  host: 'a host that may have lost it stops by itself; a machine that was frozen as a whole and goes on is not kept from writing',
  chosen:
    'fencing=host: a host that may have lost it stops by itself, and nothing else keeps it from writing',
  alone: 'no other host can use this store',
  shared: 'access=shared: several hosts may write at once',
  kept: 'on-lost=keep: its containers go on although another host may have it',
};
