import fc from 'fast-check';
import type { Command, Scenario } from './commands.ts';
import { hostNames, volumeNames } from './commands.ts';

/** Half of the commands concern the first host, so that faults meet. */
const host = fc.oneof(fc.constant(0), fc.nat({ max: hostNames.length - 1 }));
const volume = fc.constantFrom(...volumeNames);
/** Times close together; often just before or after a renewal was missed. */
const atMs = fc.oneof(
  fc.nat({ max: 20_000 }),
  fc.nat({ max: 20 }).map((seconds) => seconds * 1_000),
);
/** Durations of the order of a TTL. */
const ms = fc.oneof(fc.integer({ min: 1, max: 2_000 }), fc.integer({ min: 1, max: 14_000 }));

const run = fc.record({
  kind: fc.constant('run' as const),
  atMs: fc.oneof(fc.nat({ max: 2_000 }), fc.nat({ max: 20_000 })),
  host,
  volumes: fc.uniqueArray(volume, { minLength: 1, maxLength: 2 }),
  tasks: fc.integer({ min: 1, max: 3 }),
  count: fc.oneof(
    { weight: 20, arbitrary: fc.constant(1) },
    { weight: 4, arbitrary: fc.integer({ min: 2, max: 5 }) },
    { weight: 1, arbitrary: fc.integer({ min: 20, max: 100 }) },
  ),
});

const use = fc.record({
  kind: fc.constant('use' as const),
  atMs,
  host,
  by: fc.constantFrom('engine' as const, 'host' as const, 'sidecar' as const),
  volume,
  ms,
});

const person = fc.record({
  kind: fc.constant('person' as const),
  atMs,
  host,
  does: fc.constantFrom(
    'pause' as const,
    'unpause' as const,
    'stop' as const,
    'kill' as const,
    'restart' as const,
    'exec' as const,
  ),
  container: fc.nat({ max: 3 }),
});

const evict = fc.record({ kind: fc.constant('evict' as const), atMs, host, volume });

const copy = fc.record({
  kind: fc.constant('copy' as const),
  atMs,
  host,
  volume: fc.constantFrom('share' as const, 'logs' as const),
  ms: fc.integer({ min: 100, max: 10_000 }),
});

const fault = fc.record({
  kind: fc.constantFrom(
    'cut off' as const,
    'cut off' as const,
    'cut off' as const,
    'freeze daemon' as const,
    'kill daemon' as const,
    'lose table' as const,
    'freeze sentinel' as const,
    'hang engine' as const,
    'hang engine' as const,
    'slow scan' as const,
    'crowd' as const,
    'blind scan' as const,
  ),
  atMs,
  host,
  ms,
});

const killSentinel = fc.record({
  kind: fc.constant('kill sentinel' as const),
  atMs,
  host,
  state: fc.constantFrom('kept' as const, 'kept' as const, 'lost' as const, 'garbage' as const),
  steps: fc.oneof(fc.constant(0), fc.nat({ max: 12 }), fc.nat({ max: 200 })),
});

const storage = fc.record({
  kind: fc.constantFrom('slow disk' as const, 'hung storage' as const, 'sleep' as const),
  atMs,
  host,
  volume,
  ms,
});

const pause = fc.record({
  kind: fc.constant('pause machine' as const),
  atMs,
  host,
  sight: fc.constantFrom('counted' as const, 'time of day' as const, 'unseen' as const),
  ms,
});

const jump = fc.record({
  kind: fc.constant('set time of day' as const),
  atMs,
  host,
  byMs: fc.integer({ min: -36_000_000, max: 36_000_000 }),
});

const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 10, arbitrary: run },
  { weight: 4, arbitrary: use },
  { weight: 5, arbitrary: person },
  { weight: 1, arbitrary: evict },
  { weight: 3, arbitrary: copy },
  { weight: 10, arbitrary: fault },
  { weight: 3, arbitrary: killSentinel },
  { weight: 4, arbitrary: storage },
  { weight: 2, arbitrary: pause },
  { weight: 1, arbitrary: jump },
);

/** Scenarios that begin with a container on the first host. */
export const scenarios: fc.Arbitrary<Scenario> = fc.record({
  seed: fc.integer(),
  ttlMs: fc.constantFrom(4_000, 6_000, 10_000),
  fenceHostProcesses: fc.boolean(),
  commands: fc
    .tuple(run, fc.array(command, { minLength: 1, maxLength: 14, size: 'max' }))
    .map(([first, rest]) => [{ ...first, atMs: 0, host: 0 }, ...rest]),
});
