// The lock manager's contract on the memory store, in real time: three managers, one per host.
// one-lock-manager.test.ts has the rest, in a file of its own so that both wait at the same time.

import { memoryFixture } from '../../bench/memory-fixture.ts';
import { lockManagerContract } from '../../locks/manager-contract.ts';

lockManagerContract('memory', memoryFixture, [3]);
