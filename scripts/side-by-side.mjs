// Runs several commands at once and prints the result and the time of each, and the output of a
// failed one.
import process from 'node:process';
import { execute } from './execute.mjs';

/**
 * Resolves to true if every part exits with 0. Prints a part's output if it failed or is `loud`.
 */
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
