import createDebug from 'debug';
import { hasCode } from '../../lib/linux/error-code.ts';
import type { Clock } from '../../lib/running/clock.ts';
import { messageOf } from '../../lib/running/message-of.ts';
import { SayOnce } from '../../lib/running/say-once.ts';
import type { MappedRoot } from '../../lib/volumes/mapped-root.ts';
import type { Engine } from './engine.ts';

const log = createDebug('berth:engine');

/** An engine that was started with another map has called Plugin.Activate, unless the engine manages the plugin. */
const rememberedMs = 60_000;

export interface MappedRootsOptions {
  readonly engine: Pick<Engine, 'remappedDirectory'>;
  readonly clock: Clock;
}

/**
 * Knows which user of this host is root in the engine's containers. The engine itself says it: with
 * `userns-remap` its directory ends with `UID.GID` (`setupDaemonRoot` in daemon_unix.go of moby), whatever
 * /etc/subuid says by now. Another host's engine may have another map.
 */
export class MappedRoots {
  readonly #options: MappedRootsOptions;
  readonly #trouble = new SayOnce((text) =>
    log(
      'WARNING new volumes belong to root of this host, because the engine does not say whether it maps users: %s',
      text,
    ),
  );
  #known: { readonly root: MappedRoot | undefined; readonly until: number } | undefined;

  constructor(options: MappedRootsOptions) {
    this.#options = options;
  }

  /** Forgets the answer of an engine that has ended. */
  forget(): void {
    this.#known = undefined;
  }

  /**
   * Returns the user and the group; undefined: root is the host's, or no engine answers. Rejects with the
   * signal's reason.
   */
  async current(signal: AbortSignal): Promise<MappedRoot | undefined> {
    const { engine, clock } = this.#options;
    if (this.#known && this.#known.until > clock.now()) return this.#known.root;
    try {
      const directory = await engine.remappedDirectory(signal);
      const root = directory === undefined ? undefined : rootOf(directory);
      this.#known = { root, until: clock.now() + rememberedMs };
      return root;
    } catch (error) {
      signal.throwIfAborted();
      // Without an engine nobody maps: Podman has a map for each container.
      if (!hasCode(error, 'ENOENT', 'ECONNREFUSED')) this.#trouble.say(messageOf(error));
      return undefined;
    }
  }
}

/** Reads the owner from a directory such as /var/lib/docker/231072.231072. */
export function rootOf(directory: string): MappedRoot {
  const match = /\/(\d+)\.(\d+)\/?$/.exec(directory);
  if (match === null) throw new Error(`the directory of the engine has no owner: ${directory}`);
  return { uid: Number(match[1]), gid: Number(match[2]) };
}
