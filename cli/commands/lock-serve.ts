import type { Command } from 'commander';
import type { Run } from '../context.ts';
import { duration } from '../option-values.ts';
import { serveStoreLocks } from '../serve-locks.ts';

interface ServeOptions {
  readonly store: string;
  readonly listen: string;
  readonly tokenFile?: string;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly ttl: number;
}

const defaultTtlMs = 15_000;

/** Adds `lock serve`, which needs no daemon. */
export function lockServeCommand(group: Command, run: Run): void {
  group
    .command('serve')
    .description('serve the locks of a store over HTTP, for programs in other languages')
    .requiredOption('--store <url>', 'etcd://HOST:PORT,…/PREFIX, postgres://…, ./FILE')
    .option('--listen <address>', 'HOST:PORT, or a port of the loopback', '127.0.0.1:7020')
    .option('--token-file <file>', 'a file with the token that each request must have')
    .option('--tls-cert <file>', 'the certificate of the server, in PEM')
    .option('--tls-key <file>', 'its key')
    .option(
      '--ttl <duration>',
      'how long a lock outlives this server (15s)',
      duration,
      defaultTtlMs,
    )
    .action((options: ServeOptions) =>
      run({}, undefined, (context) => {
        const { store, listen, tokenFile, tlsCert, tlsKey, ttl } = options;
        return serveStoreLocks(context, store, { listen, tokenFile, tlsCert, tlsKey, ttlMs: ttl });
      }),
    );
}
