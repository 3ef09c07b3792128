// Runs on a guest (see uml-host.ts) and starts commands for guest-command.mjs: one connection for each. What arrives is
// a line with the command, then a line for each signal to it; what goes back are lines with its output and its end.
// Plain JavaScript: without types to strip it starts a second earlier there.
import { spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';

const server = createServer((connection) => {
  connection.on('error', () => connection.destroy());
  const lines = createInterface({ input: connection });
  lines.once('line', (line) => serve(JSON.parse(line), lines, connection));
});
server.listen(Number(process.argv[2]), () => process.stdout.write('the guest takes commands\n'));

function serve({ command, args, cwd, env, input }, lines, connection) {
  const send = (message) => connection.write(`${JSON.stringify(message)}\n`);
  const child = spawn(command, args, { cwd, env: { ...process.env, ...env } });
  child.stdout.on('data', (chunk) => send({ stdout: chunk.toString('base64') }));
  child.stderr.on('data', (chunk) => send({ stderr: chunk.toString('base64') }));
  // A command may end without having read its input.
  child.stdin.on('error', () => {});
  child.stdin.end(input);
  child.on('error', (error) => send({ failed: error.message }));
  child.on('close', (code, signal) => send({ code, signal }));
  lines.on('line', (signal) => child.kill(signal));
  // Who waited for it is gone, killed perhaps.
  connection.on('close', () => child.kill('SIGKILL'));
}
