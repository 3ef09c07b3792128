// Runs on a guest (see uml-host.ts) and starts commands for guest-command.mjs, one per connection.
// The client sends one line with the command, then one line for each signal; the agent sends lines
// with the output and the exit code. Plain JavaScript, because stripping types would delay its
// start on the slow guest by a second.
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
  // A command may end before it has read its input.
  child.stdin.on('error', () => {});
  child.stdin.end(input);
  child.on('error', (error) => send({ failed: error.message }));
  child.on('close', (code, signal) => send({ code, signal }));
  lines.on('line', (signal) => child.kill(signal));
  // The client has gone, perhaps because it was killed.
  connection.on('close', () => child.kill('SIGKILL'));
}
