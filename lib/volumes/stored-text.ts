import { z } from 'zod';
import { messageOf } from '../running/message-of.ts';
import { UnavailableError } from './errors.ts';

/*
 * Every value in the store is checked when it is read: any host of the cluster, of any release, can have
 * written it, and so can whoever reaches the store. A value that this release can't use is never used in part.
 */

/** A text for people: no control characters, which would change the terminal of its reader. */
export const plainText = z
  .string()
  .max(4_096)
  .regex(/^[^\p{Cc}\p{Cf}]*$/u, 'has control characters');

/** A record in the store that this release can't use. */
export class UnreadableRecordError extends UnavailableError {
  /** The key below `records/`, as it may be shown to people. */
  readonly key: string;
  /** True if a later release has written it, as far as its `version` tells. */
  readonly isNewer: boolean;
  /** Says what is wrong with it, as the rest of a sentence about it. */
  readonly why: string;

  /** `what`: the record, for people, such as `the record of volume db`. */
  constructor(key: string, what: string, unusable: { readonly cause: unknown; isNewer: boolean }) {
    const why = unusable.isNewer ? 'a later release has written it' : whyOf(unusable.cause);
    const shown = shownKey(key);
    const next = unusable.isNewer
      ? 'use that release on this host, too'
      : `run the version that wrote it, or remove the store's key records/${shown}`;
    const text = `${what} is not one that this version of berth can read (${why}); ${next}`;
    super(text, { cause: unusable.cause });
    this.key = shown;
    this.isNewer = unusable.isNewer;
    this.why = why;
  }
}

/** The place of a record in the store, and its text. */
export interface StoredText {
  readonly key: string;
  readonly value: string;
}

/**
 * Reads the JSON of a record. Throws UnreadableRecordError for any other text: with `isNewer` if its `version`
 * is a number above `version`, the only one that this release can read. `what` names the record for people.
 */
export function readStored<T>(
  { key, value }: StoredText,
  schema: z.ZodType<T>,
  { what, version = 1 }: { readonly what: string; readonly version?: number },
): T {
  let parsed: unknown;
  try {
    parsed = JSON.parse(value);
    return schema.parse(parsed);
  } catch (cause) {
    const found = withVersion.safeParse(parsed).data?.version;
    throw new UnreadableRecordError(key, what, {
      cause,
      isNewer: found !== undefined && found > version,
    });
  }
}

const withVersion = z.looseObject({ version: z.int() });

/** Returns a key for people: of limited length, and without control characters. */
export function shownKey(key: string): string {
  const limit = 200;
  const visible = key.slice(0, limit).replace(/[\p{Cc}\p{Cf}\p{Cs}]/gu, '\uFFFD');
  return key.length > limit ? `${visible}…` : visible;
}

function whyOf(cause: unknown): string {
  if (!(cause instanceof z.ZodError)) {
    return cause instanceof SyntaxError ? 'it is no JSON' : shownKey(messageOf(cause));
  }
  const [issue] = cause.issues;
  const at = issue?.path.map(String).join('.') ?? '';
  return shownKey(`${at === '' ? '' : `${at}: `}${issue?.message ?? 'it has another form'}`);
}
