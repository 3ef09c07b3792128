// The lock manager's contract on the file store: real files and `flock`, real time.
import { describeWith } from '../../../support/requirements.ts';
import { fileFixture } from '../../bench/file-directory.ts';
import { lockManagerContract } from '../../locks/manager-contract.ts';

describeWith(['flock'], 'the file store', () => lockManagerContract('file', fileFixture, [3]));
