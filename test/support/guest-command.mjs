// Runs a command on a guest and acts as that command: passes on its output, its exit code, and
// signals sent to it. node guest-command.mjs ADDRESS PORT
// '{"command":…,"args":[…],"cwd":…,"env":{…},"input":…}'
import { connect } from 'node:net';
import { constants } from 'node:os';
import { createInterface } from 'node:readline';

const [, , host, port, command] = process.argv;
const connection = connect({ host, port: Number(port) });
connection.write(`${command}\n`);

for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGUSR1', 'SIGUSR2', 'SIGQUIT']) {
  process.on(signal, () => connection.write(`${signal}\n`));
}
connection.on('error', (error) => end(255, error.message));
connection.on('end', () => end(255, 'the connection to the guest has ended'));

createInterface({ input: connection }).on('line', (line) => {
  const { stdout, stderr, failed, code, signal } = JSON.parse(line);
  if (stdout !== undefined) process.stdout.write(Buffer.from(stdout, 'base64'));
  else if (stderr !== undefined) process.stderr.write(Buffer.from(stderr, 'base64'));
  else if (failed !== undefined) end(127, failed);
  else end(code ?? 128 + constants.signals[signal]);
});

function end(code, why) {
  if (why) process.stderr.write(`${why}\n`);
  process.exitCode ??= code;
  connection.destroy();
  // No handle is left open, so the process ends as soon as its output is written.
}
