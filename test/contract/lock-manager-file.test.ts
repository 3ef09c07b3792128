import { fileFixture } from './file-directory.ts';
import { lockManagerContract } from './lock-manager.ts';

lockManagerContract('file', fileFixture);
