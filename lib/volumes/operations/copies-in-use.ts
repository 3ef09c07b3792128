import createDebug from 'debug';
import type { Lock } from '../../lock/lock.ts';
import type { ContainerCommands } from '../container-commands.ts';
import type { DriverContext, LiveSource, VolumeDriver } from '../drivers/driver.ts';
import { InvalidRequestError, NotStillError } from '../errors.ts';
import type { EventSink } from '../events.ts';
import type { Standstill, Standstills } from '../mounts/standstill.ts';
import type { CallContext } from '../service.ts';
import type { CopyKind, VolumeRecord, VolumeSource } from '../volume.ts';
import { formatSource } from '../volume.ts';
import { between } from './commands-around.ts';

const log = createDebug('berth:volumes');

export interface CopiesInUseOptions {
  readonly standstills: Standstills;
  readonly commands: ContainerCommands;
  readonly events: EventSink;
  /** How long containers stand still for a copy at most, if the caller does not say it. */
  readonly holdLimitMs: number;
}

/** The copy of a volume to make. */
export interface CopyOf {
  readonly driver: VolumeDriver;
  readonly record: Pick<VolumeRecord, 'name' | 'access'>;
  readonly source: LiveSource;
  readonly lock: Lock;
}

/**
 * Makes copies of a volume whose containers may run, each of one moment:
 *
 * | the volume is                       | its writers during the copy                              |
 * |-------------------------------------|----------------------------------------------------------|
 * | mounted nowhere                     | none: the caller holds its mount lock                    |
 * | a file system of its own            | wait: its driver freezes it                              |
 * | any other, mounted here             | stand still: the sentinel stops them                     |
 * | the same, and the caller says live  | write on: the copy is not of one moment, and says so     |
 * | mounted on another host             | none: refused by the locks                               |
 */
export class CopiesInUse {
  readonly #options: CopiesInUseOptions;

  constructor(options: CopiesInUseOptions) {
    this.#options = options;
  }

  /**
   * Runs `copy`, which may be cut short by the limit; it must confirm the lock once it has read all. Runs `undo`
   * if the copy was made and a command after it fails.
   */
  async make(
    of: CopyOf,
    { inUse }: Pick<CallContext, 'inUse'>,
    during: DriverContext,
    copy: (during: DriverContext) => Promise<void>,
    undo: () => Promise<void>,
  ): Promise<void> {
    const { commands } = this.#options;
    let isMade = false;
    const work = async () => {
      await this.#copy(of, inUse, during, copy);
      isMade = true;
    };
    try {
      await between(of.record.name, inUse?.commands, commands, during.signal, work);
    } catch (error) {
      if (isMade) await undo();
      throw error;
    }
  }

  async #copy(
    of: CopyOf,
    inUse: CallContext['inUse'],
    during: DriverContext,
    copy: (during: DriverContext) => Promise<void>,
  ): Promise<void> {
    const { driver, source } = of;
    if (source.mountpoint === undefined) return await copy(during);
    if (driver.capabilities.ownsFileSystem) return await thawedAfter(of, () => copy(during));
    if (copyKindOf(driver, { inUse }) === 'live') return await copy(during);
    await this.#standingStill(of, inUse, during, copy);
  }

  async #standingStill(
    { record: { name, access } }: CopyOf,
    inUse: CallContext['inUse'],
    during: DriverContext,
    copy: (during: DriverContext) => Promise<void>,
  ): Promise<void> {
    if (access === 'shared') {
      throw new NotStillError(
        `volume ${name} has access=shared, and containers of other hosts may write to it while it is copied: ` +
          'stop the containers that use it, or copy it while they write, which is not of one moment (--live)',
      );
    }
    const { standstills, events, holdLimitMs } = this.#options;
    await using still = await standstills.begin(name, inUse?.holdLimitMs ?? holdLimitMs);
    try {
      await copy(endingWith(still, during));
      await still.end();
    } catch (error) {
      still.signal.throwIfAborted();
      throw error;
    } finally {
      await still.end().catch(() => {});
      inUse?.onStoodStill?.(still.tookMs);
      const message = `its containers stood still for ${still.tookMs} ms while it was copied`;
      events.record({ severity: 'info', kind: 'stood-still', volume: name, message });
    }
  }
}

/** Returns what a copy of a volume in use is of. */
export function copyKindOf(
  { capabilities }: Pick<VolumeDriver, 'capabilities'>,
  { inUse }: Pick<CallContext, 'inUse'>,
): CopyKind {
  return inUse?.isLive && !capabilities.copyNeedsQuiet ? 'live' : 'moment';
}

/** Returns a context in which the volume's users run again once the driver has read all. */
function endingWith(still: Standstill, during: DriverContext): DriverContext {
  const { lock } = during;
  const confirm = async () => {
    await still.end();
    await lock?.confirm();
  };
  return {
    ...during,
    signal: AbortSignal.any([during.signal, still.signal]),
    lock: { token: lock?.token ?? 0, confirm },
  };
}

/**
 * Thaws a mounted volume when a copy of it fails: the process that did the work may have ended in the
 * middle. Without proof of the lock the volume may be frozen by the sentinel, and stays so.
 */
async function thawedAfter(
  { driver, source: { mountpoint }, lock }: CopyOf,
  copy: () => Promise<void>,
): Promise<void> {
  try {
    await copy();
  } catch (error) {
    if (mountpoint !== undefined && !lock.signal.aborted) {
      await driver.recover(mountpoint, { signal: lock.signal }).catch((reason) => {
        log('driver=%s %s could not be thawed: %s', driver.name, mountpoint, reason);
      });
    }
    throw error;
  }
}

/** Throws InvalidRequestError for options that would have no effect: nobody writes to a snapshot. */
export function refuseForSnapshot(
  source: VolumeSource,
  { inUse }: Pick<CallContext, 'inUse'>,
): void {
  const { isLive, holdLimitMs, commands } = inUse ?? {};
  const isAsked = isLive || holdLimitMs !== undefined || commands?.before || commands?.after;
  if (source.snapshot === undefined || !isAsked) return;
  throw new InvalidRequestError(
    `${formatSource(source)} is a snapshot, which nobody writes to: leave out what is for a volume in use ` +
      '(--live or live=, --hold-limit, --before, --after)',
  );
}
