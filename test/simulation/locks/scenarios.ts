import fc from 'fast-check';
import type {
  Command,
  FaultCommand,
  LockCommand,
  OperatorCommand,
  PutBackCommand,
  StoreCommand,
} from './commands.ts';
import { hostCount, lockNames, otherTtlMs } from './commands.ts';
import type { Scenario } from './simulation.ts';

export const host = fc.nat({ max: hostCount - 1 });
/** Times close together, for contention; often exactly the same time. */
export const atMs = fc.oneof(
  fc.nat({ max: 6_000 }),
  fc.nat({ max: 6 }).map((seconds) => seconds * 1_000),
);

/** Durations that are often about as long as a message takes. */
function duration(max: number): fc.Arbitrary<number> {
  return fc.oneof(fc.nat({ max: 60 }), fc.nat({ max }));
}

const lockRequests = fc.uniqueArray(
  fc.oneof(
    fc.record({
      name: fc.constantFrom(...lockNames),
      mode: fc.constantFrom('exclusive' as const, 'exclusive' as const, 'shared' as const),
    }),
    // One lock has permits: with more, two of them would seldom meet.
    fc.constant({ name: lockNames[0], mode: 'permit' as const, permits: 2 }),
  ),
  { minLength: 1, maxLength: 2, selector: ({ name }) => name },
);

export const lock: fc.Arbitrary<LockCommand> = fc.record({
  kind: fc.constant('lock'),
  atMs,
  host,
  locks: lockRequests,
  timeoutMs: fc.oneof(
    { weight: 3, arbitrary: fc.constant(undefined) },
    { weight: 1, arbitrary: fc.constant(0) },
    { weight: 2, arbitrary: duration(5_000).map((ms) => ms + 1) },
  ),
  cancelAfterMs: fc.option(duration(5_000), { nil: undefined, freq: 4 }),
  ttlMs: fc.option(fc.constantFrom(otherTtlMs, otherTtlMs, Number.POSITIVE_INFINITY), {
    nil: undefined,
    freq: 5,
  }),
  maxHoldMs: fc.option(fc.integer({ min: 1, max: 2_000 }), { nil: undefined, freq: 5 }),
  holdMs: duration(2_500),
  writes: fc.nat({ max: 2 }),
  ending: fc.constantFrom('unlock', 'unlock twice', 'commit', 'kept', 'forget'),
  listens: fc.boolean(),
});

export const fault: fc.Arbitrary<FaultCommand> = fc.record({
  kind: fc.constantFrom(
    'pause',
    'rough',
    'cut',
    'deaf, then cut',
    'break watch',
    'crash',
    'crash and resume',
    'restart',
  ),
  atMs,
  host,
  ms: fc.integer({ min: 1, max: 7_000 }),
});

export const operator: fc.Arbitrary<OperatorCommand> = fc.record({
  kind: fc.constantFrom('disable', 'break lock', 'break lock'),
  atMs,
  host,
  lockName: fc.constantFrom(...lockNames),
  ms: fc.nat({ max: 1_500 }),
});

export const store: fc.Arbitrary<StoreCommand> = fc.record({
  kind: fc.constant('pause store'),
  atMs,
  ms: fc.integer({ min: 1, max: 5_000 }),
});

const putBack: fc.Arbitrary<PutBackCommand> = fc.record({
  kind: fc.constant('put back'),
  atMs,
  ageMs: duration(6_000),
  how: fc.constantFrom('restored', 'bumped', 'copied'),
});

/**
 * A lock that outlives its host has no deadline of its own, so that only a kept one is given up by a host that
 * is cut off while the store is put back.
 */
const keptIfPermanent = lock.map((command) =>
  command.ttlMs === Number.POSITIVE_INFINITY ? { ...command, ending: 'kept' as const } : command,
);

/** A lock that is held for so long that hosts have to prove it. */
const kept = keptIfPermanent.map((command) => ({
  ...command,
  ending: 'kept' as const,
  holdMs: command.holdMs * 4,
}));

export function scenarioOf(command: fc.Arbitrary<Command>): fc.Arbitrary<Scenario> {
  return fc.record({
    seed: fc.integer(),
    commands: fc.array(command, { minLength: 1, maxLength: 24, size: 'max' }),
  });
}

/** Scenarios in which everything can fail. */
export const stormyScenarios = scenarioOf(
  fc.oneof(
    { weight: 12, arbitrary: lock },
    { weight: 5, arbitrary: fault },
    { weight: 3, arbitrary: operator },
    { weight: 1, arbitrary: store },
  ),
);

/** Scenarios in which everything can fail, and the store is put back to earlier states. */
export const putBackScenarios = scenarioOf(
  fc.oneof(
    { weight: 6, arbitrary: keptIfPermanent },
    { weight: 6, arbitrary: kept },
    { weight: 4, arbitrary: fault },
    { weight: 1, arbitrary: operator },
    { weight: 1, arbitrary: store },
    { weight: 3, arbitrary: putBack },
  ),
);

/** Scenarios without faults, so that nothing excuses being late. */
export const fairScenarios = scenarioOf(
  fc.oneof({ weight: 12, arbitrary: lock }, { weight: 2, arbitrary: operator }),
);
