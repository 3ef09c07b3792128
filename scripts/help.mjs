#!/usr/bin/env node
// Prints every npm script with its purpose, from fast to slow.
import process from 'node:process';
import { scripts } from './script-list.mjs';

const width = Math.max(...scripts.map(([command]) => command.length));
for (const [command, purpose] of scripts) {
  process.stdout.write(`${command.padEnd(width)}  ${purpose}\n`);
}
