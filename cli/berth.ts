import { runCli } from './program.ts';

const { env, stdout, stderr } = process;
// A reader that closes the pipe early, as in `berth volume ls | head`, is no failure.
stdout.on('error', (error) => {
  if ('code' in error && error.code === 'EPIPE') process.exit();
  throw error;
});
process.exitCode = await runCli(process.argv.slice(2), { env, stdout, stderr });
