// VolumeDriver.Get over a real socket, with volumes in memory. An engine takes any error on Get for
// a missing volume.

import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { Ticket } from '../../../../lib/lock/ticket.ts';
import { UnavailableError } from '../../../../lib/volumes/errors.ts';
import type { DockerSocket } from '../../../support/docker-socket.ts';
import { openDockerSocket } from '../../../support/docker-socket.ts';
import { eventually } from '../../../support/eventually.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import type { MemoryVolumes } from '../../../support/memory-volumes.ts';

let socket: DockerSocket;
let volumes: MemoryVolumes;
let clock: ManualClock;
let call: DockerSocket['call'];

beforeEach(async () => {
  clock = new ManualClock();
  socket = await openDockerSocket({ clock });
  ({ volumes, call } = socket);
});

afterEach(async () => {
  await socket[Symbol.asyncDispose]();
});

describe('Get', () => {
  const ticket = (token: number, host: string, reason: string): Ticket => ({
    id: `t${token}`,
    token,
    session: host,
    nonce: `n${token}`,
    locks: [{ name: 'mount/db', mode: 'exclusive' }],
    kind: reason.toLowerCase(),
    owner: host,
    holder: { host, reason, since: '2026-01-02T03:04:05.000Z' },
  });

  test('shows all properties of a volume', async () => {
    await call('VolumeDriver.Create', { Name: 'src', Opts: null });
    await call('VolumeDriver.Snapshot', { Name: 'src', Snapshot: 'monday' });
    await call('VolumeDriver.Copy', { Name: 'src', Snapshot: 'monday', Target: 'db' });
    await call('VolumeDriver.Snapshot', { Name: 'db', Snapshot: 'tuesday' });
    await call('VolumeDriver.Mount', { Name: 'db', ID: 'id1' });
    const gate = { lockName: 'mount/db', host: 'n3', since: '2026-01-02T03:04:05.000Z' };
    volumes.gates.set('db', [{ ...gate, why: 'upgrade' }]);
    volumes.tickets.set('db', [ticket(7, 'n1', 'Mount'), ticket(9, 'n2', 'Remove')]);
    expect((await call('VolumeDriver.Get', { Name: 'db' })).body).toEqual({
      Volume: {
        Name: 'db',
        Mountpoint: '/mnt/db',
        CreatedAt: '2026-01-02T03:04:08.000Z',
        Status: {
          driver: 'directory',
          access: 'host',
          failover: 'auto',
          onLost: 'pause',
          fencing: 'host (in memory)',
          options: {},
          from: 'src@monday',
          lastUsed: 'now',
          holder: { host: 'n1', reason: 'Mount', since: '2026-01-02T03:04:05.000Z', token: 7 },
          waiting: 1,
          disabled: { host: 'n3', since: '2026-01-02T03:04:05.000Z', why: 'upgrade' },
          mounts: { mountpoint: '/mnt/db', ids: ['id1'] },
          snapshots: [
            {
              name: 'tuesday',
              createdAt: '2026-01-02T03:04:09.000Z',
              kind: 'moment',
              bytes: 3 * 2 ** 20,
            },
          ],
        },
      },
      Err: '',
    });
  });

  test('leaves out properties without a value', async () => {
    await call('VolumeDriver.Create', { Name: 'db', Opts: { size: '1610612736' } });
    expect((await call('VolumeDriver.Get', { Name: 'db' })).body).toEqual({
      Volume: {
        Name: 'db',
        CreatedAt: '2026-01-02T03:04:06.000Z',
        Status: {
          driver: 'directory',
          access: 'host',
          failover: 'auto',
          onLost: 'pause',
          fencing: 'host (in memory)',
          size: '1.5 GiB',
          lastUsed: 'never',
          options: { size: '1610612736' },
          snapshots: [],
        },
      },
      Err: '',
    });
  });

  test('answers that a name is no volume', async () => {
    const { status, body } = await call('VolumeDriver.Get', { Name: 'unknown' });
    expect({ status, body }).toEqual({ status: 500, body: { Err: 'no such volume: unknown' } });
  });

  test.each(['', '../x', 'a b', 'ü', 'x'.repeat(300)])(
    'answers that %j is no volume',
    async (Name) => {
      const { status, body } = await call('VolumeDriver.Get', { Name });
      expect({ status, body }).toEqual({ status: 500, body: { Err: 'no such volume' } });
    },
  );

  test.each(['', '\n'])('closes the connection of a call without a body (%j)', async (body) => {
    await expect(call('VolumeDriver.Get', body)).rejects.toThrow('socket hang up');
  });

  test('waits while the volumes are unknown, then answers', async () => {
    await call('VolumeDriver.Create', { Name: 'db', Opts: null });
    volumes.faults.get = () => {
      throw new UnavailableError('the store is away');
    };
    const answer = call('VolumeDriver.Get', { Name: 'db' });
    await eventually(() => expect(clock.sleeping).toBe(1));
    delete volumes.faults.get;
    clock.advance(100);
    expect((await answer).status).toBe(200);
  });

  test('closes the connection when the volumes are unknown for too long', async () => {
    volumes.faults.get = () => {
      throw new UnavailableError('the store is away');
    };
    let isCut = false;
    const cut = call('VolumeDriver.Get', { Name: 'db' }).catch((error) => {
      isCut = true;
      throw error;
    });
    const outcome = expect(cut).rejects.toThrow('socket hang up');
    await eventually(() => expect(clock.sleeping).toBe(1));
    await clock.pass(2_999);
    expect(clock.sleeping).toBe(1);
    expect(isCut).toBe(false);
    await clock.pass(1);
    await outcome;
    expect(clock.sleeping).toBe(0);
  });

  test('stops waiting when the client hangs up', async () => {
    volumes.faults.get = () => {
      throw new UnavailableError('the store is away');
    };
    const { leave } = socket.begin('VolumeDriver.Get', { Name: 'db' });
    await eventually(() => expect(clock.sleeping).toBe(1));
    leave();
    await eventually(() => expect(clock.sleeping).toBe(0));
    expect(clock.now()).toBe(0);
  });

  test('closes the connection, without an answer, when berth fails', async () => {
    volumes.faults.get = () => {
      throw new TypeError('a bug');
    };
    await expect(call('VolumeDriver.Get', { Name: 'db' })).rejects.toThrow('socket hang up');
  });
});
