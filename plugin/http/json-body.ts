import type { RequestHandler } from 'express';
import express from 'express';
import type { z } from 'zod';
import { InvalidRequestError } from '../../lib/volumes/errors.ts';

const limitBytes = 1_048_576;

/** Collects the body, whatever its Content-Type: the Docker engine sends none. */
export function collectBody(): RequestHandler {
  return express.raw({ type: () => true, limit: limitBytes });
}

/** Returns the text of a collected body; empty if there was none. */
export function bodyText(body: unknown): string {
  return Buffer.isBuffer(body) ? body.toString('utf8').trim() : '';
}

/** Parses JSON by a schema. Throws an InvalidRequestError that names each wrong field. */
export function parseJson<T>(text: string, schema: z.ZodType<T>): T {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new InvalidRequestError('bad request: the body is not JSON', { cause: error });
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const problems = result.error.issues.map(({ path, message }) =>
    [...path, message.replace(/^Invalid input: /, '')].join(': '),
  );
  throw new InvalidRequestError(`bad request: ${problems.join('; ')}`);
}

/**
 * Returns an InvalidRequestError for a body that could not be collected (too large, incomplete, in
 * an unknown encoding); undefined for any other error.
 */
export function bodyRefusal(error: unknown): InvalidRequestError | undefined {
  if (typeof error !== 'object' || error === null || !('type' in error)) return undefined;
  if (error.type === 'entity.too.large') {
    return new InvalidRequestError('bad request: the body is larger than 1 MB');
  }
  const message = 'message' in error ? error.message : error.type;
  return new InvalidRequestError(`bad request: ${message}`);
}
