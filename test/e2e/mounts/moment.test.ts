// Snapshots and copies of a directory that containers write to: its containers stand still for the copy, and
// what was copied is of one moment. With real engines; the embedded store has no sentinel before the copy.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, jest, test } from '@jest/globals';
import { lingering } from '../../support/host.ts';
import type { PluggedHost } from '../../support/plugged-host.ts';
import { describePlugged } from '../../support/plugged-host.ts';
import { runOk, waitFor } from '../../support/processes.ts';
import { makeOutside, racerCommand, racerHome, racing } from '../../support/racer.ts';

const embedded = [{ docker: '20.10', store: 'embedded' }] as const;
const etcd = [{ docker: '26.1', store: 'etcd', controlGroups: 2 }] as const;

/** Each round of the racer makes four copies. BERTH_SOAK_COPIES asks for more. */
const rounds = Math.ceil(Number(process.env.BERTH_SOAK_COPIES ?? 4) / 4);
jest.setTimeout(300_000 + rounds * 20_000);

const files = ['a', 'b', 'c', 'd', 'e', 'f'];

/** Writes the same number to one file after the other: no file is ever ahead of one before it. */
const counting = `i=0; while :; do i=$((i+1)); for f in ${files.join(' ')}; do echo $i > /d/$f; done; done`;

describePlugged('copies of one moment', { variants: embedded }, oneMoment);

describePlugged('copies of one moment', { variants: etcd }, (on) => {
  oneMoment(on);

  test('a copy that takes longer than the limit fails, and the containers go on', async () => {
    const { berth, volumeDir, docker } = on();
    await startWriter(on(), 'slow');
    await docker(
      'exec',
      'w-slow',
      'sh',
      '-c',
      'mkdir /d/many; cd /d/many; seq 1 20000 | xargs touch',
    );
    const args = ['snapshot', 'create', 'slow@late', '--hold-limit', '100ms'];
    const late = await berth.berth(...args);
    expect(late.stderr).toMatch(/within 0.1 s|may stand still \(0.1 s\)/);
    expect(late.stderr).toContain('--live');
    expect(await berth.berthOk('snapshot', 'ls', 'slow')).not.toContain('late');
    await expectToCount(join(volumeDir, 'directory', 'slow', 'data', 'f'));
    await berth.berthOk('snapshot', 'create', 'slow@live', '--live');
    expect(await berth.berthOk('snapshot', 'ls', 'slow')).toMatch(/slow@live .* live files/);
    await berth.berthOk('copy', 'slow@live', 'slow2');
    expect(await berth.berthOk('volume', 'inspect', 'slow2')).toContain('copied live');
  });

  test('a process of the host that uses the volume refuses the copy by name', async () => {
    const { berth, host, volumeDir } = on();
    await startWriter(on(), 'used');
    const mountpoint = join(host.directory, 'berth/mounts/used');
    await using _shell = host.spawn('sh', ['-c', `cd ${mountpoint}; sleep 1000 & wait`]);
    const refused = await berth.berth('snapshot', 'create', 'used@x', '--hold-limit', '2s');
    expect(refused.stderr).toMatch(/processes of this host itself use it .*sh \(pid \d+\)/);
    await expectToCount(join(volumeDir, 'directory', 'used', 'data', 'f'));
  });

  test('commands in the container around a copy are run, limited and undone', async () => {
    const { berth, docker } = on();
    await startWriter(on(), 'told');
    const snapshot = (name: string, ...flags: string[]) =>
      berth.berth('snapshot', 'create', `told@${name}`, ...flags);
    const log = () => docker('exec', 'w-told', 'cat', '/tmp/log');
    const say = (word: string) => `echo ${word} >> /tmp/log`;
    const around = ['--before', say('before'), '--after', say('after')];
    expect(await snapshot('good', ...around)).toMatchObject({ code: 0 });
    expect(await log()).toBe('before\nafter');

    const failing = ['--before', 'echo no space >&2; exit 7', '--after', say('undone')];
    const failed = await snapshot('bad', ...failing);
    expect(failed).toMatchObject({ code: 1 });
    expect(failed.stderr).toMatch(/in container w-told failed with exit code 7: no space/);
    expect(await log()).toBe('before\nafter\nundone');

    const late = await snapshot('late', '--after', 'sleep 1000', '--command-limit', '300ms');
    expect(late.stderr).toContain('did not end within 0.3 s, and was killed');
    await waitFor(
      async () => !(await docker('top', 'w-told')).includes('sleep 1000'),
      10_000,
      'its end',
    );

    await docker('run', '-d', '--name', 'w-other', '-v', 'told:/d', 'busybox', 'sleep', '1000');
    expect((await snapshot('two', ...around)).stderr).toMatch(/several .*--in/);
    expect(await snapshot('named', ...around, '--in', 'w-told')).toMatchObject({ code: 0 });
    const listed = await berth.berthOk('snapshot', 'ls', 'told');
    expect(listed.match(/told@\w+/g)).toEqual(['told@good', 'told@named']);
  });

  test('a daemon that is killed in the middle lets the containers go on', async () => {
    const { berth, volumeDir } = on();
    await startWriter(on(), 'killed');
    const file = join(volumeDir, 'directory', 'killed', 'data', 'f');
    const taking = berth.berth('snapshot', 'create', 'killed@x', '--hold-limit', '3s');
    await waitFor(async () => !(await counts(file)), 10_000, 'the writer to stand still');
    await berth.kill();
    await taking;
    await expectToCount(file);
    await berth.start();
  });

  test('A1: a container without any right that exchanges directories with links gets nothing of the host', async () => {
    const { berth, docker, host, volumeDir, left } = on();
    const outside = await makeOutside(join(host.directory, 'outside'));
    const pool = join(volumeDir, 'directory');
    await docker('volume', 'create', '-d', 'berth', '-o', 'uid=1000', 'raced');
    const noRight = ['--cap-drop=ALL', '--security-opt=no-new-privileges', '--user=1000:1000'];
    const machine = ['/usr', '/lib', '/lib64', racerHome].flatMap((at) => ['-v', `${at}:${at}:ro`]);
    await docker(
      ...['run', '-d', '--name', 'racer', '--read-only', ...noRight, ...machine],
      ...['-v', 'raced:/d', 'busybox', ...racerCommand('/d', outside)],
    );
    await waitFor(
      async () => (await docker('logs', 'racer')).includes(racing),
      30_000,
      'the racer',
    );
    for (let round = 0; round < rounds; round += 1) {
      await berth.berthOk('snapshot', 'create', 'raced@live', '--live');
      await berth.berthOk('snapshot', 'create', 'raced@moment');
      await berth.berthOk('copy', 'raced', 'copied', '--live');
      await docker('volume', 'create', '-d', 'berth', '-o', 'from=raced@live', 'again');
      expect(await outside.stolen(pool)).toEqual([]);
      await berth.berthOk('snapshot', 'create', 'again@before');
      await berth.berthOk('snapshot', 'restore', 'again@before');
      await berth.berthOk('doctor', '--fix');
      expect(await outside.stolen(pool)).toEqual([]);
      for (const name of ['raced@live', 'again@before']) {
        await berth.berthOk('snapshot', 'rm', name);
      }
      if (round < rounds - 1) await berth.berthOk('snapshot', 'rm', 'raced@moment');
      await berth.berthOk('volume', 'rm', 'copied', 'again');
    }
    // The restore begins as soon as the racer's volume is unmounted.
    const restored = async () =>
      (await berth.berth('snapshot', 'restore', 'raced@moment')).code === 0;
    await Promise.all([docker('rm', '-f', 'racer'), waitFor(restored, 30_000, 'the restore')]);
    expect(await outside.stolen(pool)).toEqual([]);
    await berth.berthOk('snapshot', 'rm', 'raced@moment');
    await docker('volume', 'rm', 'raced');
    await outside.requireUntouched();
    expect((await left()).storage).not.toContain('directory/raced');
    process.stderr.write(`${rounds * 4} snapshots and copies beside the racer\n`);
  });
});

function oneMoment(on: () => PluggedHost): void {
  test('clients F2: a snapshot and a copy of a directory in use are of one moment', async () => {
    const { docker, berth, volumeDir, inspect } = on();
    await startWriter(on(), 'db');
    const data = (name: string) => join(volumeDir, 'directory', name);
    for (const name of ['s1', 's2', 's3']) {
      const taken = await berth.berth('snapshot', 'create', `db@${name}`);
      expect(taken).toMatchObject({
        code: 0,
        stderr: expect.stringMatching(/stood still for \d+ ms/),
      });
      process.stderr.write(`${taken.stderr.trim()}\n`);
      await expectOneMoment(join(data('db'), 'snapshots', name));
    }
    await docker('volume', 'create', '-d', 'berth', '-o', 'from=db', 'copy');
    await expectOneMoment(join(data('copy'), 'data'));
    expect(await berth.berthOk('snapshot', 'ls', 'db')).toMatch(/db@s1 .* one moment/);
    await expectToCount(join(data('db'), 'data', 'f'));
    expect(await inspect('w-db', '{{.State.Status}}')).toBe('running');
    const events = await berth.berthOk('events', '--volume', 'db');
    expect(events).toContain('its containers stood still for ');
    expect(events).not.toContain('resumed');
  });
}

async function startWriter({ docker, volumeDir }: PluggedHost, volume: string): Promise<void> {
  await docker('volume', 'create', '-d', 'berth', volume);
  const data = join(volumeDir, 'directory', volume, 'data');
  // A copy reads files in the order of their inodes: what lies between two of them gives the writer time.
  for (const file of files) {
    const bulk = `head -c 6000000 /dev/urandom > ${data}/bulk-${file}`;
    await runOk('sh', ['-c', `echo 0 > ${data}/${file}; ${bulk}`]);
  }
  const run = ['run', '-d', '--name', `w-${volume}`, '-v', `${volume}:/d`];
  await docker(...run, 'busybox', 'sh', '-c', lingering(counting));
  await expectToCount(join(data, 'f'));
}

/** Expects that no file is ahead of one before it; at most one is empty, the one just written. */
async function expectOneMoment(directory: string): Promise<void> {
  const read = await Promise.all(files.map((file) => readFile(join(directory, file), 'utf8')));
  const numbers = read.filter((text) => text !== '').map(Number);
  expect(numbers.length).toBeGreaterThanOrEqual(files.length - 1);
  expect(numbers).toEqual(numbers.toSorted((a, b) => b - a));
  expect((numbers[0] ?? 0) - (numbers.at(-1) ?? 0)).toBeLessThanOrEqual(1);
}

async function counts(file: string): Promise<boolean> {
  const before = await readFile(file, 'utf8');
  await new Promise((resolve) => setTimeout(resolve, 100));
  return (await readFile(file, 'utf8')) !== before;
}

async function expectToCount(file: string): Promise<void> {
  await waitFor(() => counts(file), 10_000, 'the writer to go on');
}
