import { embeddedStore } from '../../../lib/lock/stores/embedded/store.ts';
import { fileStore } from '../../../lib/lock/stores/file/store.ts';
import type { TicketStore } from '../../../lib/lock/stores/ticket-store.ts';

/** The stores that several processes of one host share, by opening the same path. */
export const localStores = {
  embedded: (path: string): Promise<TicketStore> => embeddedStore({ path }),
  file: (path: string): Promise<TicketStore> => fileStore({ directory: path }),
};

export type LocalStore = keyof typeof localStores;

/** The place of one test's store; its directory does not exist yet. */
export interface LocalPlace {
  readonly root: string;
  readonly path: string;
  [Symbol.asyncDispose](): Promise<void>;
}
