// The lock manager's contract on the memory store, in real time: one manager that plays all hosts.

import { memoryFixture } from '../../bench/memory-fixture.ts';
import { lockLeaks } from '../../locks/leaks.ts';
import { lockManagerContract } from '../../locks/manager-contract.ts';

lockManagerContract('memory', memoryFixture, [1]);
lockLeaks('memory', memoryFixture);
