// On which file systems the stores of one host work: the types are those that statfs(2) would show.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { embeddedStore } from '../../../lib/lock/stores/embedded/store.ts';
import { fileStore } from '../../../lib/lock/stores/file/store.ts';
import type { TicketStore } from '../../../lib/lock/stores/ticket-store.ts';
import { makeTemporaryDirectory } from '../../support/temporary-directory.ts';

type Open = (path: string, type: number) => Promise<TicketStore>;

const stores: Readonly<Record<string, Open>> = {
  embedded: (path, type) => embeddedStore({ path, readFileSystemType: () => type }),
  file: (directory, type) => fileStore({ directory, readFileSystemType: () => type }),
};

const shared = new Map([
  [0x6969, 'NFS'],
  [0xff534d42, 'CIFS'],
  [0x01021997, '9P'],
  [0x00c36400, 'CephFS'],
  [0x65735546, 'FUSE'],
  [0x0bd00bd0, 'Lustre'],
  [0x01161970, 'GFS2'],
  [0x7461636f, 'OCFS2'],
  [0x12345678, 'a file system of type 0x12345678'],
]);

for (const [name, open] of Object.entries(stores)) {
  test(`F4 the ${name} store refuses a file system that other hosts can share, and says which`, async () => {
    await using directory = await makeTemporaryDirectory();
    for (const [type, found] of shared) {
      const path = join(directory.path, String(type));
      const refused = open(path, type);
      await expect(refused).rejects.toThrow(
        `${path} is on ${found}`.replace('FUSE', 'FUSE (sshfs, GlusterFS and others)'),
      );
      await expect(refused).rejects.toThrow(
        /it must be on a local file system: ext4, xfs, btrfs, /,
      );
      expect(existsSync(name === 'file' ? join(path, 'state.json') : path)).toBe(false);
    }
  });

  test(`F4 the ${name} store works on every file system of one host`, async () => {
    await using directory = await makeTemporaryDirectory();
    // The second is that of btrfs as a 32-bit number with its sign.
    const types = [
      0xef53,
      0x9123683e | 0,
      0x9123683e,
      0x58465342,
      0x2fc12fc1,
      0x01021994,
      0x794c7630,
    ];
    for (const type of types) {
      await using store = await open(join(directory.path, String(type)), type);
      expect(await store.tickets()).toEqual([]);
    }
  });
}
