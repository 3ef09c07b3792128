import { describeWith } from '../support/requirements.ts';
import { fileFixture } from './file-directory.ts';
import { lockManagerContract } from './lock-manager.ts';

describeWith(['flock'], 'the file store', () => lockManagerContract('file', fileFixture));
