import { spawn } from 'node:child_process';
import { basename } from 'node:path';

/** Runs a command to its end. A command that cannot be started is reported like one that failed. */
export function execute(command, args, options = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
    const output = [];
    child.stdout?.on('data', (chunk) => output.push(chunk));
    child.stderr?.on('data', (chunk) => output.push(chunk));
    child.on('error', (error) => resolve({ code: -1, output: error.message }));
    child.on('close', (code) => resolve({ code, output: Buffer.concat(output).toString() }));
  });
}

export async function mustExecute(command, args, options) {
  const { code, output } = await execute(command, args, options);
  if (code !== 0) {
    throw new Error(`${basename(command)} failed:\n${output.trim()}`);
  }
  return output;
}

export function say(line) {
  process.stderr.write(`set-up: ${line}\n`);
}
