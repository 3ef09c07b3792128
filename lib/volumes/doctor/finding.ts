import { messageOf } from '../../running/message-of.ts';
/** Each kind of mismatch between records, storage, mounts and locks. */
export const findingKinds = [
  'record-without-storage',
  'storage-without-record',
  'snapshot-without-storage',
  'snapshot-without-record',
  'interrupted-restore',
  'interrupted-rename',
  'interrupted-removal',
  'interrupted-return',
  'trash-without-record',
  'removed-without-storage',
  'leftover',
  'interrupted-mount',
  'mount-without-lock',
  'mount-gone',
  'stray-mount',
  'lock-without-mount',
  'held-container',
  'silent-storage',
  'pool-away',
  'unclean-end',
  'put-aside',
  'unreadable-record',
  'lost-record',
] as const;

export type FindingKind = (typeof findingKinds)[number];

/** A trace of interrupted work, described for a person. */
export interface Finding {
  readonly kind: FindingKind;
  /** The volume that it concerns, `VOLUME@SNAPSHOT`, or else a path. */
  readonly what: string;
  /** The mismatch, as a sentence without its subject. */
  readonly message: string;
  /** RFC 3339, when it is known. */
  readonly since?: string;
  /** The effect of fixing; absent: only a person can fix it. */
  readonly fix?: string;
  /** The next steps of a person: commands and sentences. */
  readonly next: readonly string[];
}

/** A finding and whether it was fixed. */
export interface Outcome extends Finding {
  readonly state: 'found' | 'fixed' | 'failed';
  /** Why fixing it failed. */
  readonly error?: string;
}

/** A request to the doctor. */
export interface Treatment {
  /** Fix what can be fixed without losing anything that might be wanted. */
  readonly fix: boolean;
  /** Storage without a record to delete with its content: `VOLUME` and `VOLUME@SNAPSHOT`. */
  readonly deletions: ReadonlySet<string>;
  readonly signal: AbortSignal;
}

/** A finding, with the way to fix it if that is allowed and possible. */
export interface Ailment {
  readonly finding: Finding;
  readonly mend?: (() => Promise<void>) | undefined;
}

/** True when both are one finding, seen twice. */
export function isSame(one: Finding, other: Finding): boolean {
  return one.kind === other.kind && one.what === other.what;
}

export function found(finding: Finding): Outcome {
  return { ...finding, state: 'found' };
}

/** Fixes a finding; a failure becomes part of the outcome, so that others are still fixed. */
export async function mended(finding: Finding, mend: () => Promise<void>): Promise<Outcome> {
  try {
    await mend();
    return { ...finding, state: 'fixed' };
  } catch (error) {
    return {
      ...finding,
      state: 'failed',
      error: messageOf(error),
    };
  }
}
