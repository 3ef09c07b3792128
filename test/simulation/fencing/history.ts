/** The name by which a history calls the kernel that writes cached data back to a volume. */
export const kernelName = 'the kernel';

/** Why a process of the host itself is not stopped. */
export const unfenced = 'processes of the host are not fenced';

/** The statement of a sentinel's report about a volume. */
export type Claim = 'running' | 'fenced' | 'ended';

/**
 * An event of a host or of the store. Times are those of the storage, whose clock is the store's.
 * `writing` and `still` are facts about the storage: a process that can run and reaches a volume
 * writes to it every few milliseconds.
 */
export type Happening =
  // In the store.
  | { kind: 'granted' | 'removed'; host: string; volume: string; why: string }
  // In the kernel of a host.
  | { kind: 'mounted' | 'unmounted'; host: string; volume: string }
  | { kind: 'appeared'; host: string; user: string; volumes: readonly string[] }
  | { kind: 'ended'; host: string; user: string }
  | { kind: 'writing' | 'still'; host: string; volume: string; user: string }
  | { kind: 'file system'; host: string; volume: string; is: string }
  /** The user, or all users of the host, can't be kept from writing until then by any sentinel. */
  | { kind: 'excused'; host: string; user: string | undefined; untilMs: number; why: string }
  /** A process of the host sleeps uninterruptibly until then, so a user may not freeze. */
  | { kind: 'sleeps'; host: string; in: string; untilMs: number }
  // What the sentinel does.
  | { kind: 'stopped'; host: string; user: string; how: 'frozen' | 'held' | 'killed' }
  /** `against`: the volumes for which the user should stand still. */
  | { kind: 'let run'; host: string; user: string; against: readonly string[] }
  | { kind: 'claimed'; host: string; volume: string; is: Claim | undefined }
  | { kind: 'forgot'; host: string; volume: string }
  // What happens to it and around it.
  | { kind: 'told'; host: string; volume: string; state: string; leftMs: number }
  /** A daemon begins to copy a volume in use, and ends: the copy is of one moment. */
  | { kind: 'copying' | 'copied'; host: string; volume: string }
  | { kind: 'engine'; host: string; user: string; does: string }
  | { kind: 'fault'; host: string; what: string }
  | { kind: 'person'; host: string; user: string; does: string }
  /** The end of all faults. */
  | { kind: 'calm' }
  /** The `leftovers` are not as they should be, some time after the end of all faults. */
  | { kind: 'finished'; leftovers: readonly string[] }
  | { kind: 'bug'; message: string };

/** An event with its virtual time; a history has them in order. */
export type HistoryEvent = Happening & { readonly at: number };

export type Record = (happening: Happening) => void;

/** Prints a history, one line for each event. */
export function describeHistory(history: readonly HistoryEvent[]): string {
  return history
    .map(({ at, kind, ...rest }) => `${at.toFixed(2).padStart(9)} ${kind} ${JSON.stringify(rest)}`)
    .join('\n');
}
