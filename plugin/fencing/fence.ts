import { join } from 'node:path';
import { bootNowMs } from '../../lib/linux/boot.ts';
import { isMountpoint } from '../../lib/linux/mountinfo.ts';
import { sentinelCall } from './sentinel-call.ts';
import { SentinelLink } from './sentinel-link.ts';
import { sentinelProcesses } from './sentinel-process.ts';
import type { SentinelWatchOptions } from './sentinel-watch.ts';
import { SentinelWatch } from './sentinel-watch.ts';

export interface SentinelFenceOptions
  extends Omit<SentinelWatchOptions, 'link' | 'bootNowMs' | 'isMounted'> {
  readonly socketPath: string;
  readonly dockerSocket: string;
  readonly stateDir: string;
}

/** Returns the fence of this host's mounts: the sentinel on this socket. */
export function sentinelFence(options: SentinelFenceOptions): SentinelWatch {
  const { socketPath, dockerSocket, stateDir, clock, events } = options;
  const logPath = join(stateDir, 'sentinel.log');
  const link = new SentinelLink({
    call: sentinelCall(socketPath),
    processes: sentinelProcesses({ socketPath, dockerSocket, logPath, clock }),
    clock,
    onReplaced: (message) =>
      events.record({ severity: 'warning', kind: 'replaced', volume: '', message }),
  });
  return new SentinelWatch({ ...options, link, bootNowMs, isMounted: isMountpoint });
}
