import { isShownElsewhere, processesShowing } from '../../linux/mount-namespaces.ts';
import { messageOf } from '../../running/message-of.ts';
import { InUseError } from '../errors.ts';
import { isPodman } from './mount-row.ts';
import type { MountRow } from './stored-row.ts';

/**
 * Decides whether a second mount ID of a volume with access=container is served
 * (docs/mount-accounting.md has the table and the engine's behaviour that it rests on).
 *
 * An engine sends one Mount for the start of a container and one more at its *creation*, to copy what
 * the image has at the place of the volume into an empty volume. Both have an ID that the engine has
 * just made, so the containers tell them apart: an engine registers a container before it starts it,
 * and keeps the container locked while it waits for the answer to its Mount, so that it answers no
 * question about that container. A container that is being created is not registered.
 */

/** A container as the engine names it. */
export interface UsingContainer {
  readonly id: string;
  readonly name: string;
  /** RFC 3339: when it was started; absent if it does not run. */
  readonly startedAt?: string;
}

/** The containers of this host's engine that have a volume. */
export interface VolumeContainers {
  /** The containers that run or are paused: they have the volume mounted. */
  readonly running: readonly UsingContainer[];
  /** The others on which the engine works at this moment: it starts them, or copies from them. */
  readonly busy: readonly UsingContainer[];
}

/** The port to the engine. Rejects when the engine does not answer. */
export type AskEngine = (volume: string, signal: AbortSignal) => Promise<VolumeContainers>;

/**
 * The sender of a Mount.
 * - `create`: the engine works on no container, so it is creating one; or it is another engine.
 * - `start`: the one container that the engine works on.
 * - `several`: any of the containers that the engine works on.
 * - `unknown`: the engine does not answer.
 * - `podman`: it tells berth of the first of its containers only.
 */
export type Asker = 'create' | 'start' | 'several' | 'unknown' | 'podman';

/**
 * The users of the volume as it is mounted now.
 * - `running`: a container, or a process that shows the mount at another place.
 * - `idle`: nobody that runs. The mount IDs are of the same container (a volume at two places in it), of
 *   an engine that copies an image's content, or of an Unmount that will never come.
 */
export type Holder = 'running' | 'idle';

/**
 * - `volume`: the volume itself.
 * - `stand-in`: a read-only directory in its place. An engine copies an image's content only into an
 *   empty directory, so it copies nothing; whoever else asked gets nothing of the volume.
 * - `wait`: ask again, until the limit of the Mount.
 * - `refuse`: never while it is so.
 */
export type Verdict = 'volume' | 'stand-in' | 'wait' | 'refuse';

export const verdicts: Readonly<Record<Asker, Readonly<Record<Holder, Verdict>>>> = {
  create: { running: 'stand-in', idle: 'stand-in' },
  start: { running: 'refuse', idle: 'volume' },
  several: { running: 'refuse', idle: 'wait' },
  unknown: { running: 'refuse', idle: 'refuse' },
  podman: { running: 'refuse', idle: 'refuse' },
};

export interface OneContainerOptions {
  readonly engine: AskEngine;
  /** Tells whether any process of this machine shows the mount at another place. */
  readonly isShownElsewhere?: ((mountpoint: string) => Promise<boolean>) | undefined;
}

/** A verdict, with the refusal that a person reads. */
export interface Decision {
  readonly verdict: Verdict;
  readonly refusal: InUseError;
}

/** Decides about Mounts of volumes with access=container that are mounted on this host already. */
export class OneContainer {
  readonly #options: OneContainerOptions;

  constructor(options: OneContainerOptions) {
    this.#options = options;
  }

  /** Decides about a Mount with an ID that the row does not have. Changes nothing. */
  async decide(row: MountRow, mountId: string, signal: AbortSignal): Promise<Decision> {
    const shown = this.#options.isShownElsewhere ?? isShownElsewhere;
    const [{ found, trouble }, isShown] = await Promise.all([
      this.#found(row.volume, signal),
      shown(row.mountpoint),
    ]);
    const isPodmans = [...row.mountIds.keys()].some(isPodman);
    const holder: Holder = found?.running.length || isShown || isPodmans ? 'running' : 'idle';
    const asker = isPodman(mountId) ? 'podman' : askerOf(found);
    const verdict = verdicts[asker][holder];
    const who = { asker, holder, running: found?.running ?? [], trouble };
    return { verdict, refusal: refusalOf(row, who) };
  }

  /**
   * Throws unless at most one container uses the volume that is mounted here, as far as the engine and
   * the kernel know. The caller holds the volume's mutex, so no further Mount is answered.
   */
  async requireOne(row: MountRow, signal: AbortSignal): Promise<void> {
    const { volume, mountpoint, mountIds } = row;
    const refusal = (why: string) =>
      new InUseError(`volume ${volume} can't have access=container now: ${why}`);
    if ([...mountIds.keys()].some(isPodman)) {
      throw refusal('Podman uses it, which does not tell how many of its containers do');
    }
    const { found, trouble } = await this.#found(volume, signal);
    if (!found) throw refusal(`the engine can't be asked who uses it: ${trouble}`);
    const users = [...found.running, ...found.busy];
    if (users.length > 1) throw refusal(`it is used by ${users.map(containerText).join(' and ')}`);
    const shown = await this.#showing(mountpoint);
    if (shown > 1) throw refusal(`${shown} containers on this host have it mounted`);
  }

  /** Counts the mount namespaces that show the mount at another place. */
  async #showing(mountpoint: string): Promise<number> {
    const { isShownElsewhere: played } = this.#options;
    if (played) return (await played(mountpoint)) ? 1 : 0;
    return (await Array.fromAsync(processesShowing(mountpoint))).length;
  }

  async #found(volume: string, signal: AbortSignal) {
    try {
      return { found: await this.#options.engine(volume, signal), trouble: undefined };
    } catch (error) {
      return { found: undefined, trouble: messageOf(error) };
    }
  }
}

/**
 * Throws for a Mount by Podman of a volume with access=container: Podman mounts a volume once for all
 * of its containers, so berth would not learn of the second one.
 */
export function refusePodman(volume: string, mountId: string): void {
  if (!isPodman(mountId)) return;
  throw new InUseError(
    `volume ${volume} has access=container, which can't be kept with Podman: it mounts a volume once ` +
      `for all of its containers and tells berth only of the first; ${howToShare(volume)}`,
  );
}

function askerOf(found: VolumeContainers | undefined): Asker {
  if (!found) return 'unknown';
  const { length } = found.busy;
  return length === 0 ? 'create' : length === 1 ? 'start' : 'several';
}

interface Who {
  readonly asker: Asker;
  readonly holder: Holder;
  readonly running: readonly UsingContainer[];
  readonly trouble: string | undefined;
}

function refusalOf({ volume, ticket }: MountRow, who: Who): InUseError {
  const { asker, holder, running, trouble } = who;
  const since = `since ${ticket.holder.since} (token ${ticket.token})`;
  const users =
    running.length > 0
      ? running.map(containerText).join(' and ')
      : holder === 'running'
        ? `a container or a process on this host that the engine does not know, ${since}`
        : `a container on this host that is being started or created, ${since}`;
  const reason = asker === 'unknown' ? ` (the engine could not be asked: ${trouble})` : '';
  return new InUseError(
    `volume ${volume} has access=container and is used by ${users}${reason}; ` +
      `stop that container first, or ${howToShare(volume)}`,
  );
}

/** Names a container of this host for a person. */
export function containerText({ id, name, startedAt }: UsingContainer): string {
  const since = startedAt === undefined ? '' : ` since ${toMilliseconds(startedAt)}`;
  return `the container ${name} (${id.slice(0, 12)}) on this host${since}`;
}

function howToShare(volume: string): string {
  return `let the containers of one host share the volume: berth volume set ${volume} access=host`;
}

/** Returns a time of the engine, which has nanoseconds, as all other messages have it. */
function toMilliseconds(time: string): string {
  return time.replace(/(\.\d{3})\d+Z$/, '$1Z');
}
