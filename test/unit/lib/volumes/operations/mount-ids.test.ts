// Mount IDs are any text to berth: those that name members of a JavaScript object count like any
// other, and those that no engine makes are refused. A memory store; nothing is mounted.
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { InUseError, InvalidMountIdError } from '../../../../../lib/volumes/errors.ts';
import type { HostVolumes } from '../../../../support/host-volumes.ts';
import { hostVolumes } from '../../../../support/host-volumes.ts';
import { mountRow } from '../../../../support/mount-row.ts';

const context = { signal: new AbortController().signal };

let host: HostVolumes;

beforeEach(async () => {
  host = await hostVolumes();
  for (const access of ['host', 'container']) {
    await host.volumes.create({ name: access, options: { access } }, context);
  }
});

afterEach(() => host[Symbol.asyncDispose]());

const mount = (name: string, id: string) => host.volumes.mount(name, id, context);
const unmount = (name: string, id: string) => host.volumes.unmount(name, id, context);
const uses = (name: string) => [...(host.table.get(name)?.mountIds ?? [])];
const once = { count: 1, confirmed: true };

describe.each(['constructor', 'toString', 'valueOf', '__proto__', 'hasOwnProperty', '\'"{}[]~'])(
  'the mount ID %s',
  (id) => {
    test('is counted like any other', async () => {
      await mount('host', 'first');
      await mount('host', id);
      await mount('host', id);
      expect(uses('host')).toEqual([
        ['first', once],
        [id, { count: 2, confirmed: true }],
      ]);
      await unmount('host', id);
      await unmount('host', 'first');
      expect(uses('host')).toEqual([[id, once]]);
      await unmount('host', id);
      expect(host.table.rows()).toEqual([]);
    });

    test('is a second container of a volume with access=container', async () => {
      await mount('container', 'first');
      await expect(mount('container', id)).rejects.toThrow(InUseError);
      await unmount('container', id);
      expect(uses('container')).toEqual([['first', once]]);
    });

    test('is a new user of a disabled volume', async () => {
      await mount('host', 'first');
      await host.locks.disable('host', {});
      await expect(mount('host', id)).rejects.toThrow(/is disabled/);
      await expect(mount('host', 'first')).resolves.toBe(`${host.mountDir}/host`);
    });
  },
);

describe.each<[what: string, id: string, shown: string]>([
  ['a blank', 'its user', '"its user"'],
  ['a line feed', 'a\nb', '"a\\nb"'],
  ['an escape sequence', '\x1b[2J', '"\\u001b[2J"'],
  ['a mark that turns text around', 'a\u202eb', '"a\\u202eb"'],
  ['a letter beyond ASCII', 'ä', '"\\u00e4"'],
  ['900 kB', 'x'.repeat(900_000), `"${'x'.repeat(32)}" …`],
  ['256 characters', 'x'.repeat(256), `"${'x'.repeat(32)}" …`],
])('a mount ID with %s', (_what, id, shown) => {
  test('is refused with a text that is safe to show, and takes no lock', async () => {
    const refused = mount('host', id);
    await expect(refused).rejects.toThrow(InvalidMountIdError);
    await expect(refused).rejects.toThrow(
      `${shown} is not a mount ID: use 1 to 255 printable ASCII characters without blanks`,
    );
    expect(host.locks.tickets()).toEqual([]);
    await unmount('host', id);
  });

  test('that an earlier release counted can still be mounted again and unmounted', async () => {
    await mount('host', 'first');
    const { ticket, mountpoint } = host.table.get('host') ?? mountRow('host');
    const mountIds = new Map([[id, { count: 1, confirmed: true }]]);
    await host.table.put(mountRow('host', { ticket, mountpoint, mountIds }));
    await mount('host', id);
    expect(uses('host')).toEqual([[id, { count: 2, confirmed: true }]]);
    for (let left = 2; left > 0; left--) await unmount('host', id);
    expect(host.table.rows()).toEqual([]);
  });
});
