// Containers with `-v /:/host`, as monitors and backup agents have it, beside an image volume.

import { expect, test } from '@jest/globals';
import type { Variant } from '../../support/plugged-host.ts';
import { describePlugged } from '../../support/plugged-host.ts';

const variants: readonly Variant[] = [
  { docker: '20.10', store: 'embedded' },
  { docker: '26.1', store: 'embedded', controlGroups: 2 },
];
const suite = { variants, requirements: ['loop'] as const };

describePlugged('monitors that see the whole host', suite, (on) => {
  test.each(['ext4', 'xfs'])(
    'an image volume (%s) is stopped, started and removed while a monitor runs',
    async (fs) => {
      const { docker, start, run, berth } = on();
      const size = fs === 'xfs' ? '300M' : '64M';
      await docker(
        ...['volume', 'create', '-d', 'berth', '-o', 'driver=image', '-o', `fs=${fs}`],
        ...['-o', `size=${size}`, `db-${fs}`],
      );
      await start(`db-${fs}`, '-v', `db-${fs}:/data`);
      await docker('exec', `db-${fs}`, 'sh', '-c', 'echo kept > /data/file');
      const mountpoint = await docker('volume', 'inspect', '-f', '{{.Mountpoint}}', `db-${fs}`);
      await start(`monitor-${fs}`, '-v', '/:/host:ro');
      // A backup agent that reads for long.
      const reading = `exec 3< /host${mountpoint}/file; echo open; exec sleep 1000`;
      const agent = ['--name', `agent-${fs}`, '--stop-timeout', '0', '-v', '/:/host'];
      for (const held of [false, true]) {
        if (held) await docker('run', '-d', ...agent, 'busybox', 'sh', '-c', reading);
        await docker('stop', `db-${fs}`);
        await docker('start', `db-${fs}`);
        expect(await docker('exec', `db-${fs}`, 'cat', '/data/file')).toBe('kept');
      }
      expect(await docker('logs', `agent-${fs}`)).toBe('open');
      const events = await berth.berthOk('events', '--volume', `db-${fs}`);
      expect(events).toMatch(/warning.*a file open there.*rslave/);
      await docker('rm', '-f', `db-${fs}`);
      expect(await run(['-v', `db-${fs}:/data`], 'cat /data/file')).toBe('kept');
      await docker('volume', 'rm', `db-${fs}`);
      await docker('rm', '-f', `monitor-${fs}`, `agent-${fs}`);
    },
  );
});
