import { afterEach, beforeEach, describe } from '@jest/globals';
import { ManagerBench } from '../bench/manager-bench.ts';
import type { StoreFixture } from '../bench/store-bench.ts';
import { lockGateContract } from './gate-contract.ts';
import { lockHoldingContract } from './holding-contract.ts';
import { lockKeepingContract } from './keeping-contract.ts';
import { lockOptionsContract } from './options-contract.ts';
import { lockPermanentContract } from './permanent-contract.ts';
import { lockPermitContract } from './permit-contract.ts';
import { lockTakingContract } from './taking-contract.ts';
import { lockWaitingContract } from './waiting-contract.ts';

/**
 * The contract of the lock engine on every store: once with one manager that plays all hosts, and
 * once with three managers on connections of their own, unless `counts` names one of the two.
 * S-numbers as in the store's contract.
 */
export function lockManagerContract(
  name: string,
  makeStore: () => Promise<StoreFixture>,
  counts: readonly (1 | 3)[] = [1, 3],
): void {
  describe.each(counts)(`%i lock manager(s) on the ${name} store`, (count) => {
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
    describe('taking locks', () => lockTakingContract(benchOf));
    describe('waiting for locks', () => lockWaitingContract(benchOf));
    describe('permits', () => lockPermitContract(benchOf));
    describe('holding locks', () => lockHoldingContract(benchOf));
    describe('disabling locks', () => lockGateContract(benchOf));
    describe('limiting locks', () => lockOptionsContract(benchOf));
    describe('keeping locks', () => lockKeepingContract(benchOf));
    // These tests make a manager for each host anyway.
    if (count === 3) {
      describe('locks that outlive their host', () => lockPermanentContract(benchOf));
    }
  });
}
