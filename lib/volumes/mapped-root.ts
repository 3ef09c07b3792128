/** The user and the group of this host that root of a container is (`userns-remap` of the engine). */
export interface MappedRoot {
  readonly uid: number;
  readonly gid: number;
}
