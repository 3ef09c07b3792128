// Which inherited sockets are refused or ignored. test/e2e/start shows that inherited sockets are
// served.
import { expect, test } from '@jest/globals';
import {
  InheritedSocketError,
  takeInheritedSockets,
} from '../../../../lib/linux/inherited-sockets.ts';

const paths = { docker: '/run/docker/plugins/berth.sock', admin: '/run/berth/admin.sock' };
const own = String(process.pid);

test.each<[what: string, environment: Record<string, string>]>([
  ['no variables', {}],
  ['no socket', { LISTEN_PID: own, LISTEN_FDS: '0', LISTEN_FDNAMES: '' }],
  ['sockets of another process', { LISTEN_PID: '1', LISTEN_FDS: '2', LISTEN_FDNAMES: 'a:b' }],
])(
  'with %s the daemon inherits nothing, and its children see no LISTEN_ variables',
  async (_what, environment) => {
    const variables = { ...environment, PATH: '/bin' };
    expect(await takeInheritedSockets(paths, variables)).toEqual(new Map());
    expect(variables).toEqual({ PATH: '/bin' });
  },
);

test('a descriptor that does not listen is refused, with its number and name', async () => {
  const variables = { LISTEN_PID: own, LISTEN_FDS: '1', LISTEN_FDNAMES: 'docker' };
  const taking = takeInheritedSockets(paths, variables);
  await expect(taking).rejects.toThrow(InheritedSocketError);
  await expect(taking).rejects.toThrow(
    'descriptor 3 ("docker") is no listening Unix socket; berth serves ' +
      '/run/docker/plugins/berth.sock (docker) and /run/berth/admin.sock (admin)',
  );
  expect(variables).toEqual({});
});
