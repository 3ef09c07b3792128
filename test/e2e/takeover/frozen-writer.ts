// One pass of a frozen machine: a guest writes to an image, is frozen past its TTL, and goes on after its
// successor has mounted the volume.

import { setTimeout as delay } from 'node:timers/promises';
import { expect } from '@jest/globals';
import type { EventReply } from '../../../plugin/admin/api/status.ts';
import type { RunningProcess } from '../../support/processes.ts';
import { waitFor } from '../../support/processes.ts';
import type { UmlHost } from '../../support/uml-host.ts';
import type { Call } from '../hosts/guest-calls.ts';
import { callInGuest } from '../hosts/guest-calls.ts';

export const rounds = Number(process.env.TEST_FROZEN_ROUNDS ?? 1);
export const id = 'a'.repeat(64);

interface FrozenCase {
  readonly what: string;
  readonly clockCounts: boolean;
  /** How long its network stays cut when it goes on. */
  readonly cutMs: number;
}

export const frozenCases: readonly FrozenCase[] = [
  {
    what: 'its clock has not, and its network is cut for 10 s more',
    clockCounts: false,
    cutMs: 10_000,
  },
  { what: 'its clock has counted the pause', clockCounts: true, cutMs: 0 },
  { what: 'its clock has not counted the pause', clockCounts: false, cutMs: 0 },
];

/** The host that gets the volume meanwhile. */
export interface Successor {
  /** Returns the events of a volume, oldest first. */
  events(volume: string): Promise<readonly Pick<EventReply, 'kind' | 'message'>[]>;
  readonly directory: string;
  /** Makes calls of the engine; each must succeed. */
  calls(...calls: readonly Call[]): Promise<void>;
  execOk(command: string, ...args: string[]): Promise<string>;
}

/** Where both hosts keep their volumes. */
export interface SharedPool {
  /** The directory on the machine that holds the file system itself, which `execOk` runs programs on. */
  readonly volumeDir: string;
  execOk(command: string, ...args: string[]): Promise<unknown>;
}

/** Appends numbered lines, each on the disk before the next. */
const writer = (path: string) =>
  `i=0; while :; do i=$((i+1)); echo "guest $i." >> ${path} && sync ${path} || exit; echo $i; done`;

export async function startWriter(guest: UmlHost, volume: string): Promise<RunningProcess> {
  const writing = guest.spawn('sh', ['-c', writer(linesOf(guest, volume))]);
  await waitFor(() => writing.output().split('\n').length > 5, 30_000, 'the first lines');
  return writing;
}

export function linesOf({ directory }: { readonly directory: string }, volume: string): string {
  return `${directory}/berth/mounts/${volume}/lines`;
}

/** Runs each case as often as asked, and prints how many late lines went aside in each. */
export async function passAll(
  pool: SharedPool,
  guest: UmlHost,
  two: Successor,
  claims: () => Promise<string>,
  cases = frozenCases,
): Promise<void> {
  for (let round = 1; round <= rounds; round += 1) {
    for (const [index, each] of cases.entries()) {
      const startedAt = performance.now();
      // The events of an earlier volume of the same name would be taken for this one's.
      const volume = `v${round}-${index}`;
      const late = await passOf(each, volume, pool, guest, two);
      await waitFor(async () => (await claims()) === '', 30_000, 'the guest to end its mount');
      await two.calls(['Remove', { Name: volume }]);
      const seconds = Math.round((performance.now() - startedAt) / 1_000);
      process.stderr.write(
        `round ${round}: ${each.what}: ${late} late lines went aside (${seconds} s)\n`,
      );
    }
  }
}

/** Returns how many lines the guest wrote after its successor had mounted the volume. */
async function passOf(
  { clockCounts, cutMs }: FrozenCase,
  volume: string,
  pool: SharedPool,
  guest: UmlHost,
  two: Successor,
): Promise<number> {
  const use = { Name: volume, ID: id };
  const opts = { driver: 'image', size: '32M', fencing: 'storage' };
  await two.calls(['Create', { Name: volume, Opts: opts }]);
  await callInGuest(guest, ['Mount', use]);
  await using _writing = await startWriter(guest, volume);
  const file = linesOf(two, volume);
  const append = (line: string) =>
    two.execOk('sh', '-c', `echo ${line} >> ${file} && sync ${file}`);
  await guest.freeze();
  try {
    await two.calls(['Mount', use]);
    await append('successor first.');
    if (cutMs > 0) await guest.disconnect();
  } finally {
    await guest.thaw({ clockCounts });
  }
  const before = await two.execOk('cat', file);
  if (cutMs > 0) {
    await delay(cutMs);
    await guest.reconnect();
  }
  const aside = await putAside(two, volume);
  expect(await two.execOk('cat', file)).toBe(before);
  await append('successor last.');
  await two.calls(['Unmount', use], ['Mount', use]);
  expect(await two.execOk('cat', file)).toBe(`${before}\nsuccessor last.`);
  await two.calls(['Unmount', use]);

  const lines = before.split('\n');
  expect(lines.at(-1)).toBe('successor first.');
  const last = lines.length - 1;
  const image = `${pool.volumeDir}/image/${volume}/volume.img`;
  await pool.execOk('e2fsck', '-fn', image);
  const late = async (path: string) => {
    const found = await pool.execOk(
      'sh',
      '-c',
      `grep -aoE 'guest [0-9]+\\.' ${path} || [ $? = 1 ]`,
    );
    const numbers = [...String(found).matchAll(/guest (\d+)\./g)].map(([, number]) =>
      Number(number),
    );
    expect(numbers.length).toBeGreaterThan(0);
    return numbers.filter((number) => number > last).length;
  };
  expect(await late(image)).toBe(0);
  if (aside === undefined) return 0;
  return late(aside.replace(/^.*(?=\/image\/)/, pool.volumeDir));
}

/**
 * Waits until the guest has let go; returns the path of what it wrote aside, which the successor reports.
 * Undefined: it wrote nothing, and the file is deleted.
 */
async function putAside(two: Successor, volume: string): Promise<string | undefined> {
  const report = async () => (await two.events(volume)).findLast(({ kind }) => kind === 'aside');
  await waitFor(async () => (await report()) !== undefined, 60_000, 'the guest to end its mount');
  return /in (\/\S+\.img);/.exec((await report())?.message ?? '')?.[1];
}
