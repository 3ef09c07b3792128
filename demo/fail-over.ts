import { setTimeout as delay } from 'node:timers/promises';
import type { Cast, Line, Player } from './cast.ts';
import { container, gather, volume } from './cast.ts';
import type { Stage } from './stage.ts';

export interface Plot {
  readonly ttlSeconds: number;
}

/** Continues after the last number in the volume; each line names the host that writes it. */
const write = `
  n=$(tail -n 1 /data/lines 2>/dev/null | cut -d ' ' -f 1)
  while :; do n=$((n+1)); echo "$n $(hostname)" >> /data/lines; sync /data/lines; sleep 0.5; done`;

/** Runs the demo; returns the exit code, 1 if a line was lost or written twice. */
export async function failOver(stage: Stage, { ttlSeconds }: Plot): Promise<number> {
  stage.step(
    `Three etcd members, and two hosts, n1 and n2, with Docker and berth. TTL: ${ttlSeconds} s.`,
  );
  stage.say('Starting them, each host in its own network namespace …');
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

  stage.step("The network cable of n1 is pulled. Its container runs on and can't notice.");
  await n1.host.disconnect();
  const cutAt = performance.now();
  stage.step(
    'n2 is asked to run the container now. Its Mount waits until n1 must have stopped writing.',
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
    `n2 has the volume, ${tookSeconds} s after the cable was pulled, without an operator.`,
  );
  stage.say('n1 could not renew its lock, so it paused its container before n2 got the lock.');
  stage.say(
    `The token of n2 is ${after}, that of n1 was ${before}: storage that checks tokens refuses n1's.`,
  );
  await watch(stage.pause(6));

  stage.step('The cable of n1 is back. n1 finds that its lock is gone and kills the container.');
  await n1.host.reconnect();
  await watch(untilEnded(stage, n1));
  for (const message of await n1.events()) stage.say(`n1 reports: ${message}`);
  await stage.pause(3);

  stage.step(
    'n1 tries to start its container again. The error names the host that has the volume.',
  );
  tell(stage, n1, `docker start ${container}`);
  const refusal = await watch(n1.host.docker('start', container));
  stage.say(refusal.stderr.trim().split('\n')[0] ?? '');
  await stage.pause(4);

  stage.step('The content of the volume:');
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

/** Returns one line with the state of both hosts, the volume and its lock. */
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

/** Waits for the container's end for up to 20 s; a container that goes on shows in the verdict. */
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
    stage.say(
      'Every number is there once and in order: the two hosts never wrote at the same time.',
    );
    return 0;
  }
  stage.say(
    'A NUMBER IS MISSING, OR BOTH HOSTS WROTE AT THE SAME TIME. This must not happen: please report it.',
  );
  return 1;
}
