import { readFileSync } from 'node:fs';
import type { ControlGroup } from '../../lib/linux/control-group.ts';
import { controlGroupIn } from '../../lib/linux/control-group.ts';
import { isBeingKilled, isDying, killGroup } from '../../lib/linux/control-group-kill.ts';
import type { Mount } from '../../lib/linux/mountinfo.ts';
import { parseMountInfo } from '../../lib/linux/mountinfo.ts';
import { processFileSync } from '../../lib/linux/proc.ts';
import type { Standing, Stops, User } from '../ports.ts';
import { forgetContainer, freezeContainer, holdContainer, releaseContainer } from './container.ts';
import {
  holdProcess,
  isHeldProcessBeingKilled,
  killHeldProcess,
  releaseProcess,
  standingOfProcess,
} from './process.ts';
import { standingOf } from './standing.ts';
import { UnstoppableError } from './unstoppable.ts';

export interface KernelStopsOptions {
  /** The mounts among which the control groups are looked for; this process's by default. */
  readonly mounts?: readonly Mount[];
}

/**
 * Stops users by their control groups. Keeps nothing in memory, so that a successor knows as much.
 * See README.md.
 */
export class KernelStops implements Stops {
  readonly #givenMounts: readonly Mount[] | undefined;
  #ownMounts: readonly Mount[] | undefined;

  constructor({ mounts }: KernelStopsOptions = {}) {
    this.#givenMounts = mounts;
  }

  /** A container whose group can't be reached counts as running: nothing proves that it is not. */
  async standing({ group, process }: User): Promise<Standing> {
    if (process) return standingOfProcess(process, this.#mounts());
    return group ? standingOf(group) : { is: 'running' };
  }

  async freeze(user: User): Promise<'frozen' | 'found'> {
    if (!user.process) return freezeContainer(this.#groupOf(user));
    await holdProcess(user.process, this.#mounts());
    return 'frozen';
  }

  /** Whether a person had paused the container is seen from the mark of its group. */
  async hold(user: User): Promise<'held' | 'found'> {
    if (!user.process) return holdContainer(this.#groupOf(user));
    await holdProcess(user.process, this.#mounts());
    return 'held';
  }

  async release({ group, process }: User, keepsPause: boolean): Promise<void> {
    if (process) return releaseProcess(process, this.#mounts(), keepsPause);
    if (group) await releaseContainer(group, keepsPause);
  }

  async forget({ group, process }: User): Promise<boolean> {
    return !group || process ? true : forgetContainer(group);
  }

  async isBeingKilled({ group, process }: User): Promise<boolean> {
    if (process) return isHeldProcessBeingKilled(process);
    return group !== undefined && isBeingKilled(group);
  }

  async isDying({ group, process }: User): Promise<boolean> {
    if (process) return isHeldProcessBeingKilled(process);
    return group !== undefined && isDying(group);
  }

  async kill(user: User): Promise<void> {
    if (user.process) return killHeldProcess(user.process, this.#mounts());
    await killGroup(this.#groupOf(user));
  }

  #groupOf({ id, key, group }: User): ControlGroup {
    if (!group) {
      throw new UnstoppableError(
        `the control group of container ${id ?? key} can't be reached: only its engine can stop it`,
      );
    }
    const own = controlGroupIn(processFileSync('self', 'cgroup') ?? '', this.#mounts());
    if (own && `${own.path}/`.startsWith(`${group.path}/`)) {
      throw new UnstoppableError(
        `berth itself runs in ${group.path}: it can't stop this container and go on fencing`,
      );
    }
    return group;
  }

  #mounts(): readonly Mount[] {
    if (this.#givenMounts) return this.#givenMounts;
    // Where control groups are mounted does not change while this process runs.
    this.#ownMounts ??= parseMountInfo(readFileSync('/proc/self/mountinfo', 'utf8')).filter(
      ({ fsType }) => fsType.startsWith('cgroup'),
    );
    return this.#ownMounts;
  }
}
