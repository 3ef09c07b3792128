// Scenario 29: invalid input on the real socket gets a clear error and changes nothing. Both
// engines, both stores; the tests call the daemon itself.
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { Leftovers } from '../../support/plugged-host.ts';
import { allVariants, describePlugged, nothing } from '../../support/plugged-host.ts';

const bodies = {
  Create: { Name: 'db', Opts: {} },
  Remove: { Name: 'db' },
  Mount: { Name: 'db', ID: 'id' },
  Unmount: { Name: 'db', ID: 'id' },
  Path: { Name: 'db' },
  Snapshot: { Name: 'db', Snapshot: 's' },
  Copy: { Name: 'db', Target: 'w1' },
};
const user = { Name: 'db', ID: 'its-user' };
const methods = ['Create', 'Remove', 'Mount', 'Unmount', 'Path', 'Snapshot', 'Copy'] as const;

const badNames: [what: string, name: string][] = [
  ['a parent directory', '../x'],
  ['a path', 'a/b'],
  ['an empty name', ''],
  ['a blank', ' '],
  ['a blank inside', 'a b'],
  ['300 characters', 'x'.repeat(300)],
  ['unicode', 'dätä'],
  ['a line feed', 'a\nb'],
  ['a dot first', '.hidden'],
];

describePlugged('bad input', { variants: allVariants }, (on) => {
  describe('sent to a daemon with a volume in use', () => {
    let before: Leftovers;
    let records: unknown;

    beforeEach(async () => {
      const { call, left, store } = on();
      expect(await call('Create', { Name: 'db' })).toEqual(done);
      expect(await call('Mount', user)).toMatchObject({ status: 200 });
      before = await left();
      records = await store.records();
      expect(before).toMatchObject({ mounts: ['db'], locks: ['mount/db'], records: ['db'] });
    });
    afterEach(async () => {
      const { left, store, call } = on();
      expect(await left()).toEqual(before);
      expect(await store.records()).toEqual(records);
      expect(await call('List', {})).toMatchObject({ body: { Volumes: [{ Name: 'db' }] } });
      expect(await call('Unmount', user)).toEqual(done);
      expect(await call('Remove', { Name: 'db' })).toEqual(done);
      expect(await left()).toEqual(nothing);
    });

    test('scenario 29: a call without a body, or with a body that is not JSON, is refused', async () => {
      const { call } = on();
      for (const method of methods) {
        expect([method, await call(method)]).toEqual([
          method,
          refused(/^bad request: the body is/),
        ]);
        expect([method, await call(method, '{"Name":')]).toEqual([method, refused(/not JSON/)]);
        expect([method, await call(method, [])]).toEqual([method, refused(/expected object/)]);
        expect([method, await call(method, {})]).toEqual([
          method,
          refused(/Name: expected string/),
        ]);
      }
      // An engine takes an error on Get for a missing volume, so no answer at all is better.
      await expect(call('Get')).rejects.toThrow('socket hang up');
      expect(await call('Get', '{"Name":')).toEqual(refused(/./));
      expect(await call('Get', { Name: '' })).toEqual(refused(/^no such volume$/));
      expect(await call('Get', { Name: 'absent' })).toEqual(refused(/^no such volume: absent$/));
    });

    test('scenario 29: a call with an invalid name is refused', async () => {
      const { call } = on();
      for (const [what, name] of badNames) {
        for (const method of methods) {
          const answer = await call(method, { ...bodies[method], Name: name });
          const reason = method === 'Path' ? /no such volume/ : /is not a valid volume name/;
          expect([what, method, answer]).toEqual([what, method, refused(reason)]);
        }
        const inPlaceOf = (body: object) => call('Copy', { ...bodies.Copy, ...body });
        expect(await inPlaceOf({ Target: name })).toEqual(refused(/is not a valid volume name/));
        expect(await call('Snapshot', { Name: 'db', Snapshot: name })).toEqual(
          refused(/is not a valid snapshot name/),
        );
        expect(await call('Create', { Name: 'w1', Opts: { from: name } })).toEqual(
          refused(/is not a valid volume name/),
        );
        expect(await call('Get', { Name: name })).toEqual(refused(/^no such volume$/));
      }
    });

    test('scenario 29: a call for a volume that does not exist is refused, except Unmount', async () => {
      const { call } = on();
      for (const method of ['Remove', 'Mount', 'Path', 'Snapshot', 'Copy'] as const) {
        const answer = await call(method, { ...bodies[method], Name: 'absent' });
        expect([method, answer]).toEqual([method, refused(/no such volume/)]);
      }
      // There is nothing to unmount.
      expect(await call('Unmount', { Name: 'absent', ID: 'id' })).toEqual(done);
      expect(await call('Unmount', { Name: 'db', ID: 'never mounted' })).toEqual(done);
    });

    test.each<[what: string, options: Record<string, unknown>, reason: RegExp]>([
      [
        'an unknown option',
        { colour: 'red' },
        /unknown option "colour"; driver directory knows: .*driver.*access.*from/,
      ],
      ['a misspelt option', { driver: 'image', siez: '1G' }, /unknown option "siez".*size .*fs /],
      ['another driver’s option', { size: '1G' }, /size.*image driver|unknown option "size"/],
      [
        'an unknown driver',
        { driver: 'floppy' },
        /there is no driver "floppy"; there are: directory, image/,
      ],
      ['a bad size', { driver: 'image', size: 'huge' }, /size="huge" is not a size: use .*512M/],
      [
        'a small size',
        { driver: 'image', size: '1k' },
        /size="1k" is out of range: use 16M to 16T/,
      ],
      [
        'a bad file system',
        { driver: 'image', fs: 'fat' },
        /fs="fat" is not possible: use ext4 or xfs/,
      ],
      [
        'a bad access',
        { access: 'all' },
        /access="all" is not allowed; use one of host, container, shared/,
      ],
      [
        'an access that images do not support',
        { driver: 'image', access: 'shared' },
        /image can't have access=shared/,
      ],
      [
        'a bad action',
        { 'on-lost': 'cry' },
        /on-lost="cry" is not allowed; use one of pause, stop, keep/,
      ],
      ['a bad failover', { failover: '' }, /failover="" is not allowed; use one of auto, manual/],
      [
        'an on-lost action for a shared volume',
        { access: 'shared', 'on-lost': 'pause' },
        /on-lost=pause can't be combined with access=shared/,
      ],
      ['a source volume that does not exist', { from: 'absent' }, /no such volume: absent/],
      ['a snapshot that does not exist', { from: 'db@absent' }, /volume db has no snapshot absent/],
      ['a number', { size: 5 }, /^bad request: Opts: size: expected string/],
    ])('a Create with %s is refused', async (_what, options, reason) => {
      expect(await on().call('Create', { Name: 'w1', Opts: options })).toEqual(refused(reason));
    });

    test('a Create for an existing volume with other options is refused and changes nothing', async () => {
      const { call } = on();
      const create = (Opts: object | null) => call('Create', { Name: 'db', Opts });
      expect(await create({ driver: 'image' })).toEqual(
        refused(/db exists already with driver=directory, not driver=image; nothing was changed/),
      );
      expect(await create({ access: 'shared' })).toEqual(
        refused(/exists already with access=host, not access=shared/),
      );
      expect(await create({ 'on-lost': 'keep' })).toEqual(
        refused(/exists already with on-lost=pause, not on-lost=keep/),
      );
      expect(await create({ from: 'db' })).toEqual(refused(/can't be copied onto itself/));
      for (const same of [null, {}, { driver: 'directory' }, { access: 'host' }]) {
        expect(await create(same)).toEqual(done);
      }
    });
  });

  test('scenario 29: any Content-Type or none is accepted, and Opts may be null or absent', async () => {
    const { call, docker, left } = on();
    const types = [
      {},
      { 'Content-Type': 'text/plain' },
      { 'Content-Type': 'application/x-www-form-urlencoded' },
      { 'Content-Type': 'application/json; charset=utf-8' },
    ];
    for (const headers of types) {
      for (const options of [{ Opts: null }, { Opts: {} }, {}]) {
        expect(await call('Create', { Name: 'typed', ...options }, headers)).toEqual(done);
        expect(await call('Get', { Name: 'typed' }, headers)).toMatchObject({ status: 200 });
        expect(await call('Remove', { Name: 'typed' }, headers)).toEqual(done);
      }
    }
    expect(await docker('volume', 'ls', '-q', '-f', 'driver=berth')).toBe('');
    expect(await left()).toEqual(nothing);
  });

  test('the docker command shows the reason of each refusal', async () => {
    const { dockerFails, left } = on();
    const create = (...args: string[]) => dockerFails('volume', 'create', '-d', 'berth', ...args);
    expect(await create('-o', 'colour=red', 'db')).toMatch(
      /unknown option "colour"; driver directory/,
    );
    expect(await create('../../evil')).toContain('"../../evil" is not a valid volume name');
    expect(await create('-o', 'driver=image', '-o', 'size=1', 'db')).toContain('use 16M to 16T');
    expect(await left()).toEqual(nothing);
  });
});

const done = { status: 200, body: { Err: '' } };

function refused(reason: RegExp) {
  return { status: 500, body: { Err: expect.stringMatching(reason) } };
}
