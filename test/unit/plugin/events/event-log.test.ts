// The event log in memory and its file, on real files.

import { appendFile, readFile, rm, stat, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { EventFile } from '../../../../plugin/events/event-file.ts';
import { EventLog, keptEvents } from '../../../../plugin/events/event-log.ts';
import { eventually } from '../../../support/eventually.ts';
import type { TemporaryDirectory } from '../../../support/temporary-directory.ts';
import { makeTemporaryDirectory } from '../../../support/temporary-directory.ts';

const event = (message: string) =>
  ({ severity: 'info', kind: 'adopted', volume: 'db', message }) as const;
const messages = (events: readonly { readonly message: string }[]) =>
  events.map(({ message }) => message);

describe('the event log', () => {
  test('numbers its events and returns those after a number', () => {
    const log = new EventLog();
    log.record({ ...event('one'), token: 7 });
    log.record(event('two'));
    expect(log.since(0)).toEqual([
      { ...event('one'), token: 7, number: 1, time: expect.stringMatching(/^\d{4}-.*Z$/) },
      { ...event('two'), number: 2, time: expect.any(String) },
    ]);
    expect(messages(log.since(1))).toEqual(['two']);
    expect(log.since(2)).toEqual([]);
  });

  test('drops the oldest events beyond its limit', () => {
    const log = new EventLog();
    for (let i = 1; i <= keptEvents + 5; i++) log.record(event(`${i}`));
    expect(log.since(0)).toHaveLength(keptEvents);
    expect(log.since(0)[0]).toMatchObject({ number: 6, message: '6' });
  });

  test('serves several followers until they leave', async () => {
    const log = new EventLog();
    log.record(event('before'));
    const leaving = new AbortController();
    const seen: string[][] = [[], []];
    const followers = seen.map(async (list) => {
      for await (const { message } of log.follow(0, leaving.signal)) list.push(message);
    });
    await eventually(() => expect(seen).toEqual([['before'], ['before']]));
    log.record(event('one'));
    log.record(event('two'));
    const all = ['before', 'one', 'two'];
    await eventually(() => expect(seen).toEqual([all, all]));
    leaving.abort();
    await Promise.all(followers);
    log.record(event('later'));
    expect(seen).toEqual([all, all]);
  });
});

describe('the event file', () => {
  let directory: TemporaryDirectory;
  let path: string;
  beforeEach(async () => {
    directory = await makeTemporaryDirectory();
    path = join(directory.path, 'events.jsonl');
  });
  afterEach(async () => {
    await directory[Symbol.asyncDispose]();
  });

  /** The life of one daemon: opens the log, records events and closes. */
  async function live(work: (log: EventLog) => void, limitBytes?: number): Promise<EventLog> {
    await using file = new EventFile(path, limitBytes === undefined ? {} : { limitBytes });
    const log = new EventLog({ past: await file.read(), keep: (logged) => file.append(logged) });
    work(log);
    return log;
  }
  const record = (...texts: string[]) =>
    live((log) => {
      for (const text of texts) log.record(event(text));
    });

  test('keeps the events of earlier processes and continues their numbers', async () => {
    await record('one', 'two');
    const log = await record('three');
    expect(log.since(0).map(({ number, message }) => [number, message])).toEqual([
      [1, 'one'],
      [2, 'two'],
      [3, 'three'],
    ]);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
  });

  test('skips a torn line, and writes the next one whole', async () => {
    await record('one');
    await appendFile(path, '{"number":2,"time":"20');
    await record('two');
    expect(messages((await record()).since(0))).toEqual(['one', 'two']);
  });

  test('keeps two files of limited size', async () => {
    let last = 0;
    for (let round = 0; round < 20; round++) {
      const log = await live((each) => each.record(event('x'.repeat(100))), 1_000);
      last = log.since(0).at(-1)?.number ?? 0;
    }
    expect(last).toBe(20);
    for (const each of [path, `${path}.old`]) {
      const { size } = await stat(each);
      expect(size).toBeGreaterThan(0);
      expect(size).toBeLessThan(1_300);
    }
  });

  test('keeps events in memory while the disk is full, and writes them once there is space', async () => {
    await symlink('/dev/full', path);
    await using file = new EventFile(path);
    const log = new EventLog({ keep: (logged) => file.append(logged) });
    log.record(event('one'));
    log.record(event('two'));
    await file[Symbol.asyncDispose]();
    expect(messages(log.since(0))).toEqual(['one', 'two']);
    await rm(path);
    log.record(event('three'));
    await file[Symbol.asyncDispose]();
    expect(messages(await file.read())).toEqual(['one', 'two', 'three']);
    // A line that reached the file although its write failed is there twice, and counts once.
    await appendFile(path, await readFile(path));
    expect(messages(await file.read())).toEqual(['one', 'two', 'three']);
  });

  test('a missing state directory does not stop the log', async () => {
    await directory[Symbol.asyncDispose]();
    expect(messages((await record('one')).since(0))).toEqual(['one']);
  });
});
