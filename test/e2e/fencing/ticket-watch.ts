import { waitFor } from '../../support/processes.ts';
import { etcdTools } from '../../support/tools.ts';
import type { Cluster } from '../hosts/cluster.ts';

/** Records when mount tickets vanish from etcd; from then on other hosts can get the locks. */
export interface TicketWatch extends AsyncDisposable {
  /**
   * Waits until the volume's mount ticket vanishes after `sinceMs`; returns when, by `bootNowMs`.
   */
  waitUntilGone(volume: string, sinceMs: number, limitMs: number): Promise<number>;
}

export async function watchTickets({ network, etcd }: Cluster): Promise<TicketWatch> {
  const { etcdctl } = etcdTools('3.5');
  // The shell stamps each line on arrival; the test process may read it much later.
  const watch = `setpriv --pdeathsig KILL ${etcdctl} --endpoints ${etcd.endpoints.join()} watch --prefix /`;
  const stamp = 'while read -r line; do read -r now _ < /proc/uptime; echo "$now $line"; done';
  const watching = network.spawn('sh', ['-c', `${watch} | ${stamp}`]);
  const watchesNow = async () => {
    await etcd.ctlOk('put', '/ready', '');
    return watching.output().includes('/ready');
  };
  await waitFor(watchesNow, 10_000, 'etcd to be watched');

  function goneAtMs(volume: string, sinceMs: number): number | undefined {
    const key = `/berth/locks/${encodeURIComponent(`mount/${volume}`)}/`;
    const lines = watching.output().split('\n');
    return lines
      .filter((line, index) => line.endsWith(' DELETE') && lines[index + 1]?.includes(` ${key}`))
      .map((line) => Math.round(Number.parseFloat(line) * 1000))
      .find((time) => time >= sinceMs);
  }
  return {
    waitUntilGone: (volume, sinceMs, limitMs) =>
      waitFor(() => goneAtMs(volume, sinceMs), limitMs, `the ticket for ${volume} to vanish`),
    [Symbol.asyncDispose]: () => watching.stop(),
  };
}
