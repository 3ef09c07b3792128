import { afterEach, beforeEach, describe } from '@jest/globals';
import { ManagerBench } from '../bench/manager-bench.ts';
import type { StoreFixture } from '../bench/store-bench.ts';
import { lockGateContract } from './lock-gate-contract.ts';
import { lockHoldingContract } from './lock-holding-contract.ts';
import { lockKeepingContract } from './lock-keeping-contract.ts';
import { lockOptionsContract } from './lock-options-contract.ts';
import { lockPermanentContract } from './lock-permanent-contract.ts';
import { lockTakingContract } from './lock-taking-contract.ts';
import { lockWaitingContract } from './lock-waiting-contract.ts';

/**
 * What the lock engine promises, on every store: with all hosts played by one manager, and with
 * three managers on connections of their own. S-numbers as in the suite of the stores.
 */
export function lockManagerContract(name: string, makeStore: () => Promise<StoreFixture>): void {
  describe.each([1, 3] as const)(`%i lock manager(s) on the ${name} store`, (count) => {
    let bench: ManagerBench | undefined;

    beforeEach(async () => {
      bench = await ManagerBench.open(await makeStore(), count);
    });
    afterEach(async () => {
      await bench?.[Symbol.asyncDispose]();
      bench = undefined;
    });

    const benchOf = (): ManagerBench => {
      if (bench === undefined) throw new Error('there is a bench only while a test runs');
      return bench;
    };
    describe('take locks', () => lockTakingContract(benchOf));
    describe('wait for locks', () => lockWaitingContract(benchOf));
    describe('hold locks', () => lockHoldingContract(benchOf));
    describe('disable locks', () => lockGateContract(benchOf));
    describe('limit locks', () => lockOptionsContract(benchOf));
    describe('keep locks', () => lockKeepingContract(benchOf));
    // There each host is a manager in any case.
    if (count === 3) {
      describe('keep locks that outlive their host', () => lockPermanentContract(benchOf));
    }
  });
}
