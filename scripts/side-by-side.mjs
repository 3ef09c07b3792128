// Runs several commands at once and prints each one's verdict, time, and, when it fails, its output.
import process from 'node:process';
import { execute } from './execute.mjs';

/** Resolves true if every part ended with 0. Prints a part's output only if it failed or is `loud`. */
export async function sideBySide(parts, options = {}) {
  const results = await Promise.all(parts.map((part) => runPart(part, options)));
  return results.every((isGreen) => isGreen);
}

async function runPart({ name, command, args, loud = false }, options) {
  const started = performance.now();
  const { code, output } = await execute(command, args, options);
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  const isGreen = code === 0;
  const shown = isGreen && !loud ? '' : `${output.trimEnd()}\n`;
  process.stdout.write(`${shown}${isGreen ? 'passed' : 'FAILED'}  ${name} (${seconds} s)\n`);
  return isGreen;
}
