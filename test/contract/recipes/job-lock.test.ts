// Jobs (`JobLock`) on every store: real stores and servers, a real lock manager, real time.
import { describe } from '@jest/globals';
import { onEveryStore } from '../bench/every-store.ts';
import { jobLockContract } from './job-lock-contract.ts';
import { jobReplacementContract } from './job-replacement-contract.ts';

onEveryStore('job locks', (benchOf) => {
  describe('one run holds a job', () => jobLockContract(benchOf));
  describe('a run takes its own job again', () => jobReplacementContract(benchOf));
});
