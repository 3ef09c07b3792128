import fc from 'fast-check';
import type { CloneCommand } from '../locks/commands.ts';
import { mainTtlMs } from '../locks/commands.ts';
import { atMs, fault, host, lock, operator, scenarioOf, store } from '../locks/scenarios.ts';

const clone: fc.Arbitrary<CloneCommand> = fc.record({
  kind: fc.constant('clone'),
  atMs,
  host,
  ms: fc.integer({ min: mainTtlMs + 300, max: 7_000 }),
});

/** Both processes of a host that was copied have one permanent session, so nobody uses it. */
const leased = lock.map((command) =>
  command.ttlMs === Number.POSITIVE_INFINITY ? { ...command, ttlMs: undefined } : command,
);

/** A lock that its host takes back after a lapse. */
const kept = leased.map((command) => ({
  ...command,
  ending: 'kept' as const,
  holdMs: command.holdMs * 3,
}));

/** Scenarios in which everything can fail, and hosts are copied while they are frozen. */
export const copiedScenarios = scenarioOf(
  fc.oneof(
    { weight: 5, arbitrary: leased },
    { weight: 5, arbitrary: kept },
    { weight: 3, arbitrary: fault },
    { weight: 1, arbitrary: operator },
    { weight: 1, arbitrary: store },
    { weight: 3, arbitrary: clone },
  ),
);
