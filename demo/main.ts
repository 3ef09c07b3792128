// npm run demo: a fail-over to watch. See fail-over.ts for the story.
import { failOver } from './fail-over.ts';
import { openStage } from './stage.ts';

const usage = `usage: npm run demo [-- --fast]

A fail-over in your terminal: three etcd members, two hosts with Docker and berth, a container that
writes to a volume, and a plug that is pulled. Takes a minute and leaves nothing behind.

  --fast   without the pauses for reading, and with a shorter TTL
`;

async function main(args: readonly string[]): Promise<number> {
  if (args.some((arg) => arg !== '--fast')) {
    process.stderr.write(usage);
    return args.includes('--help') ? 0 : 2;
  }
  if (process.getuid?.() !== 0) {
    process.stderr.write(
      'The demo needs root: it makes network namespaces and runs Docker engines of its own in them.\n' +
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
      stage.say('Stopped. Everything that the demo had started is gone.');
      return 130;
    }
    stage.say(`The demo can't go on. ${firstOf(error)}`);
    return 1;
  }
}

/** What happened first, where cleaning up after it failed, too. */
function firstOf(error: unknown): unknown {
  return error instanceof SuppressedError ? firstOf(error.suppressed) : error;
}

process.exitCode = await main(process.argv.slice(2));
