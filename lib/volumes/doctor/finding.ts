import { messageOf } from '../../running/message-of.ts';
/** What may not fit together: records, storage, mounts and locks. */
export const findingKinds = [
  'record-without-storage',
  'storage-without-record',
  'snapshot-without-storage',
  'snapshot-without-record',
  'interrupted-restore',
  'leftover',
  'interrupted-mount',
  'mount-without-lock',
  'mount-gone',
  'stray-mount',
  'lock-without-mount',
] as const;

export type FindingKind = (typeof findingKinds)[number];

/** Something that interrupted work has left, as a person is told. */
export interface Finding {
  readonly kind: FindingKind;
  /** The volume that it concerns, `VOLUME@SNAPSHOT`, or else a path. */
  readonly what: string;
  /** What is wrong. */
  readonly message: string;
  /** RFC 3339, when it is known. */
  readonly since?: string;
  /** What fixing does; absent: it takes a person. */
  readonly fix?: string;
  /** What a person can do about it: commands and sentences. */
  readonly next: readonly string[];
}

/** How it stands with a finding now. */
export interface Outcome extends Finding {
  readonly state: 'found' | 'fixed' | 'failed';
  /** Why fixing it failed. */
  readonly error?: string;
}

/** What the doctor is asked to do. */
export interface Treatment {
  /** Fix what can be fixed without losing anything that might be wanted. */
  readonly fix: boolean;
  /** What has no record and is to be deleted with its content: `VOLUME` and `VOLUME@SNAPSHOT`. */
  readonly deletions: ReadonlySet<string>;
  readonly signal: AbortSignal;
}

/** A finding with the way to mend it, if that is allowed and possible. */
export interface Ailment {
  readonly finding: Finding;
  readonly mend?: (() => Promise<void>) | undefined;
}

/** Whether it is the same one, seen again. */
export function isSame(one: Finding, other: Finding): boolean {
  return one.kind === other.kind && one.what === other.what;
}

export function found(finding: Finding): Outcome {
  return { ...finding, state: 'found' };
}

/** Mends; what fails is told with the finding and does not keep others from being mended. */
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
