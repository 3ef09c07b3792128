// Pools of numbered locks (`LockPool`) on every store: real stores and servers, a real lock
// manager, real time.
import { describe } from '@jest/globals';
import { onEveryStore } from '../bench/every-store.ts';
import { poolLeasesContract } from './pool-leases-contract.ts';
import { poolLocksContract } from './pool-locks-contract.ts';
import { poolNumbersContract } from './pool-numbers-contract.ts';

onEveryStore('lock pools', (benchOf) => {
  describe('allocate numbers', () => poolNumbersContract(benchOf));
  describe('lease numbers', () => poolLeasesContract(benchOf));
  describe('lock numbers', () => poolLocksContract(benchOf));
});
