/**
 * Keeps the containers of this host from writing to volumes that it may have lost to another, also
 * while this process is dead or hangs.
 */
export interface MountGuard {
  /**
   * Guards all mounts as they are now, before it resolves: a volume just mounted is not to be used
   * earlier. Rejects UnavailableError when it can't.
   */
  guard(): Promise<void>;

  /** Something about the mounts has changed: as `guard`, soon, and repeated until it is done. */
  changed(): void;

  /**
   * Ends all containers that use a volume whose lock is lost; nothing of this host writes to it
   * when this resolves. Idempotent. Rejects when it did not come about in time.
   */
  end(volume: string): Promise<void>;
}
