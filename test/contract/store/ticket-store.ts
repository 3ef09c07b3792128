import { afterEach, beforeEach, describe } from '@jest/globals';
import type { StoreFixture } from '../bench/store-bench.ts';
import { StoreBench } from '../bench/store-bench.ts';
import { commitContract } from './commit-contract.ts';
import { gateContract } from './gate-contract.ts';
import { multiLockContract } from './multi-lock-contract.ts';
import { permanentSessionContract } from './permanent-session-contract.ts';
import { permitContract } from './permit-contract.ts';
import { queueContract } from './queue-contract.ts';
import { sessionContract } from './session-contract.ts';
import { watchContract } from './watch-contract.ts';

/**
 * The contract of the port `TicketStore`: each sentence of it, seen through one connection and
 * through three. S-numbers are the scenarios in test/promises/lock-scenarios.test.ts.
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
    describe('queue', () => queueContract(benchOf));
    describe('several locks in one request', () => multiLockContract(benchOf));
    describe('permits', () => permitContract(benchOf));
    describe('sessions', () => sessionContract(benchOf));
    describe('permanent sessions', () => permanentSessionContract(benchOf));
    describe('gates', () => gateContract(benchOf));
    describe('guarded changes', () => commitContract(benchOf));
    describe('reports to watchers', () => watchContract(benchOf));
  });
}
