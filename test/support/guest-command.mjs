// Runs a command on a guest and behaves as that command: its output, its exit code, the signals it gets.
// node guest-command.mjs ADDRESS PORT '{"command":…,"args":[…],"cwd":…,"env":{…},"input":…}'
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
  // Nothing else holds the process: it ends when its output is written.
}
