import { InvalidRequestError } from '../../errors.ts';

export interface SizeLimits {
  readonly minBytes: number;
  readonly maxBytes: number;
  /** Sizes are rounded up to a multiple of this. */
  readonly stepBytes: number;
}

const units = { '': 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40 };

/**
 * Reads a size such as `512M`, `1g`, `1GiB`, `1GB` or plain bytes; a unit is a power of 1024.
 * Throws InvalidRequestError, saying what is allowed, for anything else and outside the limits.
 */
export function parseSize(text: string, limits: SizeLimits): number {
  const match = /^(\d+)(?:([kmgt])(?:i?b)?|b)?$/i.exec(text);
  if (match === null) {
    throw new InvalidRequestError(
      `size=${JSON.stringify(text)} is not a size: use a whole number and k, M, G or T, such as 512M`,
    );
  }
  const [, digits, unit = ''] = match;
  const bytes = Number(digits) * units[unit.toLowerCase() as keyof typeof units];
  if (bytes < limits.minBytes || bytes > limits.maxBytes) {
    throw new InvalidRequestError(
      `size=${JSON.stringify(text)} is out of range: use ${formatSize(limits.minBytes)} to ${formatSize(limits.maxBytes)}`,
    );
  }
  return Math.ceil(bytes / limits.stepBytes) * limits.stepBytes;
}

/** `314572800` as `300M`: the largest unit that leaves a whole number. */
export function formatSize(bytes: number): string {
  const names = ['T', 'G', 'M', 'k'] as const;
  for (const name of names) {
    const unit = units[name.toLowerCase() as keyof typeof units];
    if (bytes >= unit && bytes % unit === 0) return `${bytes / unit}${name}`;
  }
  return String(bytes);
}
