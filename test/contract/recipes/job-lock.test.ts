import { describe } from '@jest/globals';
import { onEveryStore } from '../bench/every-store.ts';
import { jobLockContract } from './job-lock-contract.ts';
import { jobReplacementContract } from './job-replacement-contract.ts';

onEveryStore('job locks', (benchOf) => {
  describe('are held by one run', () => jobLockContract(benchOf));
  describe('can be taken again', () => jobReplacementContract(benchOf));
});
