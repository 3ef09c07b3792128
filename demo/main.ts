// npm run demo: shows a fail-over in the terminal. The steps are in fail-over.ts, the hosts in
// cast.ts, the terminal in stage.ts. Everything is real and runs in namespaces of this machine;
// test/e2e/fencing/demo.test.ts runs it.
import { failOver } from './fail-over.ts';
import { openStage } from './stage.ts';

const usage = `usage: npm run demo [-- --fast]

Shows a fail-over in the terminal: three etcd members, two hosts with Docker and berth, a container
that writes to a volume, and a network cable that is pulled. Takes a minute and leaves nothing behind.

  --fast   without the pauses for reading, and with a shorter TTL
`;

async function main(args: readonly string[]): Promise<number> {
  if (args.some((arg) => arg !== '--fast')) {
    process.stderr.write(usage);
    return args.includes('--help') ? 0 : 2;
  }
  if (process.getuid?.() !== 0) {
    process.stderr.write(
      'The demo needs root: it makes network namespaces and runs its own Docker engines in them.\n' +
        'Run it with: sudo npm run demo\n',
    );
    return 1;
  }
  const isFast = args.includes('--fast');
  using stage = openStage({ pace: isFast ? 0.1 : 1 });
  try {
    return await failOver(stage, { ttlSeconds: isFast ? 5 : 10 });
  } catch (error) {
    if (stage.signal.aborted) {
      stage.say('Stopped. Everything that the demo started has ended.');
      return 130;
    }
    stage.say(`The demo failed. ${firstOf(error)}`);
    return 1;
  }
}

/** Returns the first error if the clean-up after it failed, too. */
function firstOf(error: unknown): unknown {
  return error instanceof SuppressedError ? firstOf(error.suppressed) : error;
}

process.exitCode = await main(process.argv.slice(2));
