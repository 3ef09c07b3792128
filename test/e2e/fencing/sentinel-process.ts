import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { text } from 'node:stream/consumers';
import { bootId } from '../../../lib/linux/boot.ts';
import { SentinelState } from '../../../sentinel/state.ts';
import type { StateParts } from '../../../sentinel/state-format.ts';
import { readStateLines } from '../../../sentinel/state-format.ts';
import type { SentinelReport } from '../../../sentinel/watch.ts';
import { reportSchema } from '../../../sentinel/watch.ts';
import type { Host } from '../../support/host.ts';
import { waitFor } from '../../support/processes.ts';
import type { EngineNode } from '../hosts/cluster.ts';

/** A host whose sentinel is asked. */
type Watched = { readonly host: Pick<Host, 'pathOf'> };

/** Returns the report of the host's sentinel; rejects when none answers. */
export async function sentinelReport({ host }: Watched): Promise<SentinelReport> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const socketPath = host.pathOf('/run/berth/admin.sock.sentinel');
  const signal = AbortSignal.timeout(1_000);
  const call = request({ socketPath, path: '/report', signal, agent: false }, (response) => {
    text(response).then(resolve, reject);
  });
  call.on('error', reject);
  call.end();
  return reportSchema.parse(JSON.parse(await promise));
}

export async function sentinelPid(node: Watched): Promise<number> {
  return (await sentinelReport(node)).pid;
}

/** Returns the lines that the sentinel has written for its successor; none if there is no file. */
export async function sentinelLines(host: Pick<Host, 'pathOf'>): Promise<StateParts[]> {
  return readStateLines(await sentinelText(host));
}

async function sentinelText(host: Pick<Host, 'pathOf'>): Promise<string[]> {
  const path = host.pathOf('/run/berth/admin.sock.sentinel.state');
  const text = await readFile(path, 'utf8').catch(() => '');
  return text.split('\n').filter(Boolean);
}

/** Returns the time, by `bootNowMs`, at which the host must have stopped writing to the volume. */
export async function deadlineOf(
  node: { readonly host: Pick<Host, 'pathOf'> },
  volume: string,
): Promise<number> {
  const text = await sentinelText(node.host);
  const file = { read: () => text, append: () => true, replace: () => true };
  const { volumes } = new SentinelState(file, bootId(), { date: () => new Date() });
  const deadlineMs = volumes.find((watched) => watched.volume === volume)?.deadlineMs;
  if (deadlineMs === undefined) throw new Error(`volume ${volume} has no deadline`);
  return deadlineMs;
}

/** Returns true if nobody can write to the volume; an own file system is frozen then. */
export async function isStill(node: EngineNode, volume: string): Promise<boolean> {
  return (await sentinelReport(node)).volumes[volume] === 'fenced';
}

/**
 * Keeps the only thread of the host's sentinel busy until the returned function is called, as fencing
 * many containers does; that function resolves when the sentinel goes on. Uses Node's inspector,
 * which the signal opens in the host's own network.
 */
export async function keepSentinelBusy(
  { host }: EngineNode,
  pid: number,
): Promise<() => Promise<void>> {
  process.kill(pid, 'SIGUSR1');
  const [busy, over] = ['/run/berth/busy', '/run/berth/busy-no-more'];
  const loop = `{
    const fs = process.getBuiltinModule('node:fs');
    fs.writeFileSync('${busy}', '');
    while (!fs.existsSync('${over}'));
    for (const path of ['${busy}', '${over}']) fs.rmSync(path);
  }`;
  const script = `
    const list = () => fetch('http://127.0.0.1:9229/json/list').then((reply) => reply.json());
    const pause = () => new Promise((resolve) => setTimeout(resolve, 50));
    let target;
    while (!target) [target] = await list().catch(() => pause().then(() => []));
    const socket = new WebSocket(target.webSocketDebuggerUrl);
    const params = { expression: ${JSON.stringify(loop)} };
    socket.onopen = () => socket.send(JSON.stringify({ id: 1, method: 'Runtime.evaluate', params }));
    socket.onmessage = () => process.exit();`;
  const working = host.execOk('node', '--input-type=module', '-e', script);
  const isBusy = () => existsSync(host.pathOf(busy));
  await Promise.race([working, waitFor(isBusy, 20_000, `the sentinel of ${host.name} to work`)]);
  return async () => {
    await writeFile(host.pathOf(over), '');
    await working;
  };
}

/** Waits until the sentinel keeps nobody stopped, and the daemon has recorded all that it did. */
export async function waitUntilSettled(node: EngineNode): Promise<void> {
  const isSettled = async () => {
    const { happenings } = await sentinelReport(node);
    const stopped = new Set<string>();
    for (const parts of await sentinelLines(node.host)) {
      for (const [key, user] of Object.entries(parts.stopped ?? {})) {
        if (user) stopped.add(key);
        else stopped.delete(key);
      }
    }
    return happenings.length === 0 && stopped.size === 0;
  };
  await waitFor(isSettled, 20_000, `the sentinel of ${node.name} to have settled`);
}
