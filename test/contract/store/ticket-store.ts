import { afterEach, beforeEach, describe } from '@jest/globals';
import type { StoreFixture } from '../bench/store-bench.ts';
import { StoreBench } from '../bench/store-bench.ts';
import { commitContract } from './commit-contract.ts';
import { gateContract } from './gate-contract.ts';
import { multiLockContract } from './multi-lock-contract.ts';
import { permanentSessionContract } from './permanent-session-contract.ts';
import { queueContract } from './queue-contract.ts';
import { sessionContract } from './session-contract.ts';
import { watchContract } from './watch-contract.ts';

/**
 * What every store must do: each sentence of the port, seen through one connection and through
 * three. S-numbers name scenarios from the test suites of other lock managers.
 */
export function ticketStoreContract(name: string, makeStore: () => Promise<StoreFixture>): void {
  describe.each([1, 3] as const)(`${name} store through %i connection(s)`, (connections) => {
    let bench: StoreBench | undefined;

    beforeEach(async () => {
      bench = await StoreBench.open(await makeStore(), connections);
    });
    afterEach(async () => {
      await bench?.[Symbol.asyncDispose]();
      bench = undefined;
    });

    const benchOf = (): StoreBench => {
      if (bench === undefined) throw new Error('there is a bench only while a test runs');
      return bench;
    };
    describe('queues tickets', () => queueContract(benchOf));
    describe('takes several locks at once', () => multiLockContract(benchOf));
    describe('keeps sessions', () => sessionContract(benchOf));
    describe('keeps permanent sessions', () => permanentSessionContract(benchOf));
    describe('closes gates', () => gateContract(benchOf));
    describe('commits guarded changes', () => commitContract(benchOf));
    describe('tells watchers', () => watchContract(benchOf));
  });
}
