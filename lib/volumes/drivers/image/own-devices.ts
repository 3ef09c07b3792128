import { basename } from 'node:path';
import { hasCode } from '../../../linux/error-code.ts';
import { placeOfPath } from '../../../linux/mount-namespaces.ts';
import type { MountViewer } from '../../../linux/mount-viewers.ts';
import { viewersOf } from '../../../linux/mount-viewers.ts';
import { readIfThere } from '../../../linux/state-file.ts';
import type { DeadDevices } from './dead-devices.ts';
import { writableLoopDevices } from './loop-device.ts';
import { ownerTag, ownerTagIn } from './stage.ts';

/*
 * Several daemons of one machine may use one pool, and the kernel shows each of them the devices of all. A
 * daemon that undoes its own attempt must not end the file system of another one, which has got the volume
 * since. So a device names its daemon: the file that is attached is one on a stage (stage.ts), the name of the
 * stage ends with the tag of its maker, and the kernel shows that name for as long as the device has the
 * file, also when the stage is gone. Nobody has to remember it, and no crash comes in between.
 *
 * | the device names  | shown at this daemon's mountpoint | shown elsewhere only | shown nowhere |
 * |-------------------|-----------------------------------|----------------------|---------------|
 * | this daemon       | own                               | own                  | own           |
 * | another daemon    | never own                         | never own            | never own     |
 * | nobody            | own                               | not known            | own           |
 *
 * A device names nobody if an earlier release made it, or if the pool had no room for a stage or knows no
 * second names. One of which it is not known whose it is stays as it is, and counts as attached.
 */

export interface OwnDevicesOptions {
  /** The identity of the daemon; undefined: devices that name nobody are its own. */
  readonly owner: string | undefined;
  readonly dead: DeadDevices;
}

/** Tells the loop devices of this daemon from those of others on this machine. */
export class OwnDevices {
  readonly dead: DeadDevices;
  readonly #tag: string | undefined;

  constructor({ owner, dead }: OwnDevicesOptions) {
    this.dead = dead;
    this.#tag = owner === undefined ? undefined : ownerTag(owner);
  }

  /**
   * Lists the devices that may write to an image for this daemon: its own, and those of which it is not known
   * whose they are. Without those that are dead.
   */
  async of(image: string): Promise<string[]> {
    return this.without(await writableLoopDevices(image));
  }

  /** Leaves out the devices that are dead, and those of other daemons. */
  async without(devices: readonly string[]): Promise<string[]> {
    const alive = await this.dead.without(devices);
    const tags = await Promise.all(alive.map(tagOf));
    return alive.filter((_, index) => tags[index] === undefined || tags[index] === this.#tag);
  }

  /** Finds who shows the devices of an image that are certainly this daemon's. */
  async viewers(image: string, mountpoint: string): Promise<readonly MountViewer[]> {
    const devices = await this.of(image);
    if (devices.length === 0) return [];
    const viewers = await viewersOf(devices);
    const named = await Promise.all(devices.map(async (device) => [device, await tagOf(device)]));
    const place = await placeOfPath(mountpoint);
    const isHere = (device: string) =>
      viewers.some((viewer) => viewer.source === device && viewer.place === place);
    const own = new Set(
      named.flatMap(([device = '', tag]) =>
        tag === this.#tag || (tag === undefined && place !== undefined && isHere(device))
          ? device
          : [],
      ),
    );
    return viewers.filter(({ source }) => own.has(source));
  }
}

/** Returns the tag of the daemon that a device names. Undefined: it names nobody. */
async function tagOf(device: string): Promise<string | undefined> {
  try {
    const file = await readIfThere(`/sys/block/${basename(device)}/loop/backing_file`);
    return file === undefined ? undefined : ownerTagIn(file);
  } catch (error) {
    if (hasCode(error, 'ENODEV')) return undefined; // It lost its file meanwhile.
    throw error;
  }
}
