import { fileFixture } from './file-directory.ts';
import { ticketStoreContract } from './ticket-store.ts';

ticketStoreContract('file', fileFixture);
