import type { IncomingMessage } from 'node:http';
import { z } from 'zod';
import { lockFields } from '../ticket-schema.ts';

/** A request that can't be carried out as it is. */
export class BadRequestError extends Error {
  override readonly name = 'BadRequestError';
}

const limitBytes = 16_384;
const longestName = 1_000;
const day = 86_400_000;
/** A text that other users of the lock read. */
const shown = z.string().min(1).max(200);

export const holdBody = z
  .strictObject({
    ...lockFields,
    mode: lockFields.mode.optional(),
    /** 0: one attempt. Absent: for ever. */
    waitMs: z.int().nonnegative().max(day).optional(),
    /** Whole seconds, because each TTL has a session of its own in the store. */
    ttlMs: z.int().min(2_000).max(3_600_000).multipleOf(1_000).optional(),
    maxHoldMs: z.int().positive().optional(),
    owner: shown.optional(),
    reason: shown.optional(),
    detail: shown.optional(),
  })
  .refine(({ mode, permits }) => mode === undefined || permits === undefined, {
    error: 'mode and permits exclude each other',
  });

export const releaseBody = z.strictObject({ token: z.int().positive() });

export const clearBody = z.strictObject({
  token: z.int().positive(),
  /** Also if the holder is alive. */
  force: z.boolean().default(false),
});

export const disableBody = z.strictObject({ why: shown.optional() });

/** Reads and checks the JSON of a body; none counts as `{}`. Rejects BadRequestError. */
export async function bodyOf<T>(request: IncomingMessage, schema: z.ZodType<T>): Promise<T> {
  const text = await textOf(request);
  let value: unknown;
  try {
    value = JSON.parse(text || '{}');
  } catch (error) {
    throw new BadRequestError('the body is not JSON', { cause: error });
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const problems = result.error.issues.map(({ path, message }) =>
    [...path, message.replace(/^Invalid input: /, '')].join(': '),
  );
  throw new BadRequestError(problems.join('; '));
}

/** Returns the name of a lock from a part of a path. Throws BadRequestError. */
export function lockNameOf(encoded: string): string {
  let name: string;
  try {
    name = decodeURIComponent(encoded);
  } catch (error) {
    throw new BadRequestError(`the name ${encoded} is not encoded as in a URL`, { cause: error });
  }
  if (name === '') throw new BadRequestError('the path names no lock');
  if (name.length > longestName) {
    throw new BadRequestError(`the name of a lock has at most ${longestName} characters here`);
  }
  return name;
}

async function textOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > limitBytes) {
      throw new BadRequestError(`the body is larger than ${limitBytes} bytes`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8').trim();
}
