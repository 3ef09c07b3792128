import { z } from 'zod';
import { StoreUnavailableError } from '../../errors.ts';
import type { KeptState } from '../kept-state.ts';
import { keptFields, storedForm } from '../kept-state.ts';

/** Format 1 is of berth 0.1.0. It has the same content, but others take turns with that release. */
export const currentFormat = 2;

export function stateText(state: KeptState): string {
  return `${JSON.stringify({ format: currentFormat, ...storedForm(state) })}\n`;
}

/** Parses the state, also of an earlier format. Throws a plain error for a newer format, else `StoreUnavailableError`. */
export function parseState(
  text: string,
  path: string,
): { readonly format: number; readonly state: KeptState } {
  try {
    const kept: unknown = JSON.parse(text);
    const { format } = z.object({ format: z.number() }).parse(kept);
    if (format > currentFormat) throw new NewerFormatError(path, format);
    return { format, state: stateSchema.parse(kept) };
  } catch (cause) {
    if (cause instanceof NewerFormatError) throw cause;
    throw new StoreUnavailableError(
      `the lock file ${path} is damaged; restore it, or delete it while nothing is mounted`,
      { cause },
    );
  }
}

class NewerFormatError extends Error {
  override readonly name = 'NewerFormatError';
  constructor(path: string, format: number) {
    super(
      `the lock file ${path} has format ${format}, which a newer version of berth wrote; this one knows format ${currentFormat}`,
    );
  }
}

// Session ids are file names too.
const stateSchema = z.object({ ...keptFields, sessions: z.array(z.uuid()) });
