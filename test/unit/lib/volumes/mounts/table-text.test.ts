// The text of a mount table: what is read of a whole, a torn and a damaged one, and of one that an
// earlier release wrote. No files.
import { describe, expect, test } from '@jest/globals';
import { z } from 'zod';
import type { MountRow } from '../../../../../lib/volumes/mounts/stored-row.ts';
import { rowOf, rowText } from '../../../../../lib/volumes/mounts/stored-row.ts';
import {
  baseText,
  deleteLine,
  NewerTableError,
  putLine,
  readTable,
} from '../../../../../lib/volumes/mounts/table-text.ts';
import { mountRow } from '../../../../support/mount-row.ts';

const volumesOf = (text: string) => [...readTable(text).rows.keys()];

/** The schema of an earlier release. */
const earlierSchema = z.object({
  version: z.literal(1),
  rows: z.array(z.object({ volume: z.string(), mountIds: z.record(z.string(), z.unknown()) })),
});

test('a base is a document that an earlier release reads', () => {
  const text = baseText([mountRow('db'), mountRow('web')]);
  expect(earlierSchema.parse(JSON.parse(text)).rows.map(({ volume }) => volume)).toEqual([
    'db',
    'web',
  ]);
  expect(earlierSchema.parse(JSON.parse(baseText([]))).rows).toEqual([]);
  expect(readTable(text)).toMatchObject({ isBase: true, unreadable: [], isAllDoubtful: false });
});

test('an earlier release refuses a table with changes behind its base', () => {
  const text = baseText([mountRow('db')]) + deleteLine('db');
  expect(() => JSON.parse(text)).toThrow(SyntaxError);
  expect(readTable(text).isBase).toBe(false);
});

test.each<[what: string, indent: number | undefined]>([
  ['over many lines', 1],
  ['in one line', undefined],
])('the document of an earlier release is read, written %s', (_what, indent) => {
  const rows = [mountRow('db'), mountRow('web')];
  const stored = { version: 1, rows: rows.map((row) => JSON.parse(rowText(row))) };
  const read = readTable(JSON.stringify(stored, undefined, indent));
  expect([...read.rows.values()]).toEqual(rows);
  expect(read).toMatchObject({ isBase: false, unreadable: [] });
});

test('a row of an earlier release that can not be read hides no other', () => {
  const rows = [JSON.parse(rowText(mountRow('db'))), { volume: 'web', ticket: 5 }];
  const read = readTable(JSON.stringify({ version: 1, rows }, undefined, 1));
  expect([...read.rows.keys()]).toEqual(['db']);
  expect([...read.doubtful]).toEqual(['web']);
});

test('the table of a later release is refused', () => {
  expect(() => readTable('{"version":2,"rows":[\n]}\n')).toThrow(NewerTableError);
  expect(() => readTable('{\n "version": 12,\n "rows": []\n}')).toThrow(NewerTableError);
});

describe('mount IDs', () => {
  const ids = [
    'constructor',
    'toString',
    '__proto__',
    'hasOwnProperty',
    'a\nb',
    '\x1b[2J',
    '\u202e',
  ];

  test.each(ids)('%j comes back from a row, a change and a base as it was', (id) => {
    const row = mountRow('db', { mountIds: new Map([[id, { count: 3, confirmed: true }]]) });
    expect(rowOf(JSON.parse(rowText(row)))).toEqual(row);
    expect(readTable(baseText([]) + putLine(row)).rows.get('db')).toEqual(row);
    expect(readTable(baseText([row])).rows.get('db')).toEqual(row);
  });

  test('a count that an earlier release spoilt counts once, unconfirmed', () => {
    const text = rowText(mountRow('db')).replace('"count":1', '"count":null');
    expect([...rowOf(JSON.parse(text)).mountIds]).toEqual([
      ['id1', { count: 1, confirmed: false }],
    ]);
  });
});

/** A base and changes; `ends` has, for each change, the length of the text with it. */
function history() {
  let text = baseText([mountRow('a'), mountRow('b')]);
  const used = mountRow('c', { mountIds: new Map([['id2', { count: 2, confirmed: true }]]) });
  const changes = [putLine(mountRow('c')), deleteLine('a'), putLine(used), deleteLine('c')];
  const baseLength = text.length;
  const ends = changes.map((line) => {
    text += line;
    return text.length;
  });
  return { text, baseLength, ends };
}

const shown = (rows: ReadonlyMap<string, MountRow>) =>
  [...rows.values()].map(({ volume, mountIds }) => `${volume} ${[...mountIds.keys()]}`);

test('cut at any byte, a table is that of the changes that are whole', () => {
  const { text, baseLength, ends } = history();
  const states = [
    ['a id1', 'b id1'],
    ['a id1', 'b id1', 'c id1'],
    ['b id1', 'c id1'],
    ['b id1', 'c id2'],
    ['b id1'],
  ];
  for (let length = baseLength; length <= text.length; length++) {
    const read = readTable(text.slice(0, length));
    const whole = ends.filter((end) => end <= length).length;
    expect([length, shown(read.rows)]).toEqual([length, states[whole]]);
    expect(read.unreadable).toEqual([]);
  }
});

test('a block of zeros at the end is as if it were torn off', () => {
  const { text, baseLength } = history();
  const read = readTable(text.slice(0, baseLength) + '\0'.repeat(512));
  expect(shown(read.rows)).toEqual(['a id1', 'b id1']);
  expect(read.unreadable).toEqual([]);
});

describe('a damaged line', () => {
  const damaged = (row: MountRow) => putLine(row).replace('"ticket"', 'ticket');

  test('hides no other line, and its volume is in doubt', () => {
    const text = baseText([mountRow('a')]) + damaged(mountRow('b')) + putLine(mountRow('c'));
    const read = readTable(text);
    expect([...read.rows.keys()]).toEqual(['a', 'c']);
    expect([...read.doubtful]).toEqual(['b']);
    expect(read.unreadable).toEqual([damaged(mountRow('b')).trimEnd()]);
    expect(read.isAllDoubtful).toBe(false);
  });

  test('is harmless when a later line tells of its volume', () => {
    for (const later of [putLine(mountRow('b')), deleteLine('b')]) {
      expect([...readTable(baseText([]) + damaged(mountRow('b')) + later).doubtful]).toEqual([]);
    }
  });

  test('that names no volume may concern any', () => {
    const read = readTable(`${baseText([mountRow('a')])}#####\n${putLine(mountRow('c'))}`);
    expect(read.isAllDoubtful).toBe(true);
    expect(volumesOf(`${baseText([mountRow('a')])}#####\n`)).toEqual(['a']);
  });

  test('may be the first of the base', () => {
    const read = readTable(baseText([mountRow('a'), mountRow('b')]).replace('version', 'vers'));
    expect([...read.rows.keys()]).toEqual(['a', 'b']);
    expect(read.isBase).toBe(false);
  });
});
