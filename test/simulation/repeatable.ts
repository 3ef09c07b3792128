import { createHash } from 'node:crypto';
import { expect } from '@jest/globals';

/**
 * Checks that a simulation plays each scenario in the same way each time, and different ones in different ways.
 * `trace` plays one and describes its history.
 */
export async function expectRepeatable<Scenario>(
  scenarios: readonly Scenario[],
  trace: (scenario: Scenario) => Promise<string>,
): Promise<void> {
  const hashOf = async (scenario: Scenario) =>
    createHash('sha256')
      .update(await trace(scenario))
      .digest('hex');
  const hashes = new Set<string>();
  for (const scenario of scenarios) {
    const first = await hashOf(scenario);
    expect(await hashOf(scenario)).toBe(first);
    hashes.add(first);
  }
  expect(hashes.size).toBe(scenarios.length);
}
