import { setTimeout as delay } from 'node:timers/promises';
import type { Cast, Line, Player } from './cast.ts';
import { container, gather, volume } from './cast.ts';
import type { Stage } from './stage.ts';

export interface Plot {
  readonly ttlSeconds: number;
}

/** Goes on after the last number in the volume, and says on each line which host writes it. */
const write = `
  n=$(tail -n 1 /data/lines 2>/dev/null | cut -d ' ' -f 1)
  while :; do n=$((n+1)); echo "$n $(hostname)" >> /data/lines; sync /data/lines; sleep 0.5; done`;

/** Tells the story; answers the exit code: 1 when a line was lost or written twice. */
export async function failOver(stage: Stage, { ttlSeconds }: Plot): Promise<number> {
  stage.step(
    `Three etcd members, and two hosts, n1 and n2, with Docker and berth. TTL: ${ttlSeconds} s.`,
  );
  stage.say('Starting them, each host in network namespaces of its own …');
  await using cast = await gather(ttlSeconds);
  stage.signal.throwIfAborted();
  const { n1, n2 } = cast;
  const watch = <T>(during: Promise<T>, note = () => '') =>
    stage.watch(async () => `${await sight(cast)}${note()}`, during);

  stage.step(`A container on n1 writes a number to volume "${volume}" twice a second.`);
  tell(stage, n1, `docker volume create -d berth ${volume}`);
  await n1.host.dockerOk('volume', 'create', '-d', 'berth', volume);
  tell(stage, n1, `docker run -d --name ${container} -v ${volume}:/data …`);
  await start(n1);
  await watch(stage.pause(6));

  stage.step("Somebody pulls n1's plug. Its container is alive, and does not know.");
  await n1.host.disconnect();
  const cutAt = performance.now();
  stage.step(
    'n2 is told to run the container now. It waits in the queue until n1 must have stopped.',
  );
  tell(stage, n2, `docker run -d --name ${container} -v ${volume}:/data …`);
  const countdown = () => {
    const left = Math.ceil(ttlSeconds - (performance.now() - cutAt) / 1_000);
    return left > 0 ? ` | the TTL ends in ${left} s` : '';
  };
  const before = (await n2.holder())?.token ?? 0;
  await watch(start(n2), countdown);
  const tookSeconds = ((performance.now() - cutAt) / 1_000).toFixed(1);
  const after = (await n2.holder())?.token ?? 0;

  stage.step(
    `n2 has the volume, ${tookSeconds} s after the plug was pulled; no operator was needed.`,
  );
  stage.say('n1 could not renew its lock, so it had paused its container before n2 was let in.');
  stage.say(
    `Its token is ${after}, n1's was ${before}: storage that checks tokens refuses the old one.`,
  );
  await watch(stage.pause(6));

  stage.step('The plug is put back. n1 finds that its lock is gone, and ends the container.');
  await n1.host.reconnect();
  await watch(untilEnded(stage, n1));
  for (const message of await n1.events()) stage.say(`n1 says: ${message}`);
  await stage.pause(3);

  stage.step('n1 wants its container back, and is told who has the volume.');
  tell(stage, n1, `docker start ${container}`);
  const refusal = await watch(n1.host.docker('start', container));
  stage.say(refusal.stderr.trim().split('\n')[0] ?? '');
  await stage.pause(4);

  stage.step('What is in the volume?');
  await n2.host.dockerOk('stop', '--time', '0', container);
  return verdict(stage, await cast.lines());
}

function tell(stage: Stage, { host }: Player, command: string): void {
  stage.say(`${host.name}# ${command}`);
}

async function start({ host }: Player): Promise<void> {
  await host.dockerOk(
    ...['run', '-d', '--name', container, '--hostname', host.name, '--stop-timeout', '0'],
    ...['-v', `${volume}:/data`, 'busybox', 'sh', '-c', write],
  );
}

/** What an onlooker sees who can be everywhere at once. */
async function sight({ n1, n2, lines }: Cast): Promise<string> {
  const [one, two, holder, all] = await Promise.all([
    n1.container(),
    n2.container(),
    n2.holder(),
    lines(),
  ]);
  const last = all.at(-1);
  return [
    `n1: ${one ?? '-'}`.padEnd(12),
    `n2: ${two ?? '-'}`.padEnd(12),
    `last line: ${last ? `${last.number} by ${last.host}` : '-'}`.padEnd(22),
    `lock: ${holder ? `${holder.host}, token ${holder.token}` : 'free'}`,
  ].join(' | ');
}

/** For as long as it may take: the verdict tells of a container that went on. */
async function untilEnded({ signal }: Stage, { container: state }: Player): Promise<void> {
  const end = performance.now() + 20_000;
  while ((await state()) !== 'exited' && performance.now() < end) {
    await delay(100, undefined, { signal });
  }
}

function verdict(stage: Stage, lines: readonly Line[]): number {
  const isComplete = lines.every(({ number }, index) => number === index + 1);
  const hosts = lines.map(({ host }) => host);
  const first = hosts.indexOf('n2');
  const isApart = first > 0 && hosts.slice(first).every((host) => host === 'n2');
  stage.say(`${first} lines by n1, then ${lines.length - first} by n2.`);
  if (isComplete && isApart) {
    stage.say('Every number is there, once, in order: at no time did both of them write.');
    return 0;
  }
  stage.say(
    'A NUMBER IS MISSING, OR BOTH OF THEM WROTE AT ONCE. This must not happen: please report it.',
  );
  return 1;
}
