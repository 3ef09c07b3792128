import createDebug from 'debug';
import type { HeldGroup } from '../../linux/held-groups.ts';
import {
  endCommand,
  endHeld,
  heldGroups,
  isOfThisHost,
  releaseHeld,
} from '../../linux/held-groups.ts';
import type { Clock } from '../../running/clock.ts';
import type { Mounts } from '../mounts/mounts.ts';
import type { Finding, Outcome, Treatment } from './finding.ts';
import { found, mended } from './finding.ts';

const log = createDebug('berth:doctor');

/** The control groups in which a sentinel holds containers. */
export interface HeldGroups {
  /** Finds the containers that stand still in a group of the sentinel's. */
  find(): Promise<readonly HeldGroup[]>;
  isOfThisHost(group: HeldGroup): Promise<boolean>;
  release(group: HeldGroup): Promise<void>;
  end(group: HeldGroup): Promise<void>;
}

export const kernelHeldGroups: HeldGroups = {
  find: heldGroups,
  isOfThisHost,
  release: releaseHeld,
  end: endHeld,
};

export interface HeldDoctorOptions {
  readonly held: HeldGroups;
  /** The engine's containers; each call rejects when the engine does not answer. */
  readonly engine: {
    /** Resolves to undefined if there is no such container. */
    inspect(id: string): Promise<SeenContainer | undefined>;
    /** Resolves also if the container is not paused. */
    unpause(id: string): Promise<void>;
  };
  readonly mounts: Pick<Mounts, 'get' | 'lockState'>;
  readonly fence: {
    /**
     * Returns the volumes for which users stand still, as they should; undefined while the sentinel
     * can't be asked.
     */
    stoppedVolumes(): ReadonlySet<string> | undefined;
  };
  readonly clock: Clock;
}

/** How long the sentinel may take to release a container whose volumes this host holds again. */
const patienceMs = 3_000;
const endLimitMs = 5_000;

/**
 * Finds containers that stand still although the sentinel has nobody stand still for their volumes: its
 * state is lost, and berth's entry of the mount with it. A container whose volumes are all held here may
 * run. Any other can't go on, because others may have written to its volumes: it has to end, and
 * acquires the locks when it is started again.
 */
export class HeldDoctor {
  readonly #options: HeldDoctorOptions;

  constructor(options: HeldDoctorOptions) {
    this.#options = options;
  }

  async examine({ fix }: Treatment): Promise<Outcome[]> {
    const before = await this.#strays();
    if (before.length === 0) return [];
    await this.#options.clock.sleep(patienceMs);
    const outcomes: Outcome[] = [];
    for (const { group, finding, mend } of await this.#strays()) {
      if (!before.some((stray) => stray.group.path === group.path)) continue;
      outcomes.push(
        fix && mend ? await mended(finding, () => this.#mend(group, mend)) : found(finding),
      );
    }
    return outcomes;
  }

  async #strays(): Promise<Stray[]> {
    const { held, fence } = this.#options;
    const strays: Stray[] = [];
    for (const group of await held.find()) {
      const container = await this.#inspected(group);
      if (!container && !(await held.isOfThisHost(group))) continue;
      const stopped = fence.stoppedVolumes();
      const volumes = container?.volumes ?? [];
      // Without volumes of its own it may stand still for another container (--pid container:NAME).
      const isWanted =
        volumes.length === 0 ? stopped?.size !== 0 : volumes.some((volume) => stopped?.has(volume));
      if (stopped && !isWanted) strays.push(this.#stray(group, container));
    }
    return strays;
  }

  #stray(group: HeldGroup, container: SeenContainer | undefined): Stray {
    const { held, engine, mounts } = this.#options;
    const volumes = container?.volumes ?? [];
    const isHeld = (volume: string) =>
      mounts.get(volume) !== undefined && mounts.lockState(volume) === 'held';
    const mayRun = volumes.length > 0 && volumes.every(isHeld);
    const short = group.container.slice(0, 12);
    const finding: Finding = {
      kind: 'held-container',
      what: container ? `container ${container.name} (${short})` : `container ${short}`,
      message: mayRun
        ? 'stands still although this host holds its volumes'
        : 'stands still for the sentinel, which does not know it any more',
      since: group.since.toISOString(),
      ...(volumes.length > 0 && {
        fix: mayRun ? 'lets it run' : 'ends it: others may have written to its volumes since',
      }),
      next: [`end it yourself, then start it again: ${endCommand(group)}`],
    };
    if (volumes.length === 0) return { group, finding };
    const release = async () => {
      await held.release(group);
      await engine.unpause(group.container);
    };
    return { group, finding, mend: mayRun ? release : () => held.end(group) };
  }

  /** An engine that does not answer is no reason to say nothing of the host's other faults. */
  async #inspected({ container }: HeldGroup): Promise<SeenContainer | undefined> {
    try {
      return await this.#options.engine.inspect(container);
    } catch (error) {
      log('the engine says nothing of container %s: %s', container, error);
      return undefined;
    }
  }

  /** Mends, and waits until the group holds no process any more. */
  async #mend({ path }: HeldGroup, mend: () => Promise<void>): Promise<void> {
    const { clock, held } = this.#options;
    await mend();
    const end = clock.now() + endLimitMs;
    while ((await held.find()).some((group) => group.path === path)) {
      if (clock.now() > end) throw new Error(`its processes stay in ${path}`);
      await clock.sleep(100);
    }
  }
}

interface SeenContainer {
  readonly name: string;
  /** The volumes of this plugin that it uses. */
  readonly volumes: readonly string[];
}

interface Stray {
  readonly group: HeldGroup;
  readonly finding: Finding;
  readonly mend?: () => Promise<void>;
}
