import { isAbsolute, normalize } from 'node:path';
import { z } from 'zod';

/**
 * Schemas that turn the text of a setting into its value. The error of each names the allowed values,
 * in words that can follow the bad value in one line.
 */

/** The kernel's `sun_path` holds 108 bytes with the final zero; longer ones can't be bound. */
const socketPathLimit = 107;

const durationUnits = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** Returns the milliseconds of `500ms`, `30s`, `1m`, `2h`, `7d`; undefined for any other text. */
export function parseDuration(text: string): number | undefined {
  const match = /^(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h|d)$/.exec(text);
  if (match === null) return undefined;
  const unit = match[2];
  if (unit === undefined || !isUnit(unit)) return undefined;
  return Math.round(Number(match[1]) * durationUnits[unit]);
}

function isUnit(text: string): text is keyof typeof durationUnits {
  return Object.hasOwn(durationUnits, text);
}

interface DurationRange {
  readonly minMs: number;
  readonly maxMs: number;
  /** The unit that a store can grant: etcd counts a lease in seconds. */
  readonly stepMs?: number;
  readonly allowed: string;
}

export function duration({ minMs, maxMs, stepMs = 1, allowed }: DurationRange) {
  return z.string().transform((text, context) => {
    const ms = parseDuration(text);
    if (ms === undefined || ms < minMs || ms > maxMs || ms % stepMs !== 0) {
      context.addIssue({ code: 'custom', message: allowed });
      return z.NEVER;
    }
    return ms;
  });
}

/** A duration, or `0` for none. */
export function durationOrNone(range: DurationRange) {
  const none = z.literal('0').transform(() => 0);
  return z.union([none, duration(range)], { error: range.allowed });
}

export function factor({ min, max, allowed }: { min: number; max: number; allowed: string }) {
  return z
    .string()
    .regex(/^\d{1,6}(?:\.\d{1,3})?$/, { error: allowed })
    .transform(Number)
    .refine((value) => value >= min && value <= max, { error: allowed });
}

export function matching(pattern: RegExp, allowed: string) {
  return z.string().regex(pattern, { error: allowed });
}

export function oneOf<const T extends readonly string[]>(values: T) {
  return z.enum(values, { error: `use one of ${values.join(', ')}` });
}

/** Pairs such as `image=container,directory=host`; each key at most once. */
export function wordPairs<const K extends string, const V extends string>(
  keys: readonly K[],
  values: readonly V[],
) {
  const allowed = `use ${keys.map((key) => `${key}=${values.join('|')}`).join(',')}, or one of them`;
  return z.string().transform((text, context): Partial<Record<K, V>> => {
    const pairs: Partial<Record<K, V>> = {};
    for (const part of text.split(',')) {
      const [key, value] = part.split('=').map((word) => word.trim());
      const knownKey = keys.find((known) => known === key);
      const knownValue = values.find((known) => known === value);
      const isPair = part.split('=').length === 2 && knownKey && knownValue;
      if (!isPair || pairs[knownKey] !== undefined) {
        context.addIssue({ code: 'custom', message: allowed });
        return z.NEVER;
      }
      pairs[knownKey] = knownValue;
    }
    return pairs;
  });
}

/** An absolute path, without `.`, `..` and a final slash. */
export function absolutePath() {
  return z
    .string()
    .refine((path) => isAbsolute(path) && !path.includes('\0'), {
      error: 'use an absolute path',
    })
    .transform(tidyPath);
}

/** `suffix`: what berth appends to the path for another socket beside it. */
export function socketPath({ suffix = '' } = {}) {
  const limit = socketPathLimit - Buffer.byteLength(suffix);
  const why =
    suffix === ''
      ? "the kernel's limit for a socket"
      : `the kernel's limit for a socket is ${socketPathLimit}, and berth appends ${suffix} for another one`;
  return absolutePath().refine((path) => Buffer.byteLength(path) <= limit, {
    error: `use a path of at most ${limit} bytes (${why})`,
  });
}

export function yesOrNo() {
  return oneOf(['yes', 'no']).transform((text) => text === 'yes');
}

function tidyPath(path: string): string {
  const normal = normalize(path);
  return normal.length > 1 && normal.endsWith('/') ? normal.slice(0, -1) : normal;
}

/** The `store` setting before the `etcd-*` settings are added to it. */
export type StoreAddress =
  | { readonly kind: 'embedded' }
  | { readonly kind: 'etcd'; readonly tls: boolean; readonly endpoints: readonly string[] };

const storeRule =
  'use embedded, etcd://HOST:PORT[,HOST:PORT…] or etcds://HOST:PORT[,HOST:PORT…] (with TLS)';

export function storeAddress() {
  return z.string().transform((text, context): StoreAddress => {
    const address = parseStoreAddress(text);
    if (address !== undefined) return address;
    context.addIssue({ code: 'custom', message: storeRule });
    return z.NEVER;
  });
}

function parseStoreAddress(text: string): StoreAddress | undefined {
  if (text === 'embedded') return { kind: 'embedded' };
  const match = /^(etcds?):\/\/([^/]+)$/.exec(text);
  const endpoints = match?.[2]?.split(',');
  if (endpoints === undefined || !endpoints.every(isEndpoint)) return undefined;
  return { kind: 'etcd', tls: match?.[1] === 'etcds', endpoints };
}

/** Accepts `n1:2379`, `10.0.0.1:2379`, `[fd00::1]:2379`. */
function isEndpoint(text: string): boolean {
  const match = /^(?:[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})$/.exec(text);
  const port = Number(match?.[1] ?? 0);
  return port >= 1 && port <= 65_535;
}
