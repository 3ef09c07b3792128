import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Copied } from './copy.ts';

/** The program that copies one directory, for Node, of this release: as source or as built. */
export const copyProgram = fileURLToPath(
  new URL(`copy-program${extname(import.meta.url)}`, import.meta.url),
);

/** Returns the line by which the program says what it has copied. */
export function progressLine({ bytes, files }: Copied): string {
  return `${bytes} ${files}\n`;
}

/** Returns what the last line of a part of the program's output says. */
export function lastProgress(output: string): Copied | undefined {
  const lines = output.split('\n');
  const [bytes, files] = lines.at(-2)?.split(' ').map(Number) ?? [];
  return bytes === undefined || files === undefined ? undefined : { bytes, files };
}
