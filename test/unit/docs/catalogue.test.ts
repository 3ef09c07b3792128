// docs/errors-and-events.md and docs/doctor.md against the codes and kinds of the source.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { exitCodeOf, exitCodes } from '../../../cli/exit-code.ts';
import type { LockErrorCode } from '../../../lib/lock/errors.ts';
import { findingKinds } from '../../../lib/volumes/doctor/finding.ts';
import type { VolumeErrorCode } from '../../../lib/volumes/errors.ts';
import { eventKinds } from '../../../lib/volumes/events.ts';
import type { HolderReply } from '../../../plugin/admin/api/locks.ts';
import type { FailureCode } from '../../../plugin/admin/api/long-work.ts';
import { statusOf } from '../../../plugin/admin/failure.ts';
import { reportSchema } from '../../../sentinel/watch.ts';

/** Every code; the compiler refuses the table when the union has another code, or lacks one. */
const codes: Readonly<Record<FailureCode | VolumeErrorCode | LockErrorCode, true>> = {
  invalid: true,
  'not-found': true,
  exists: true,
  'in-use': true,
  contended: true,
  timeout: true,
  refused: true,
  lost: true,
  cancelled: true,
  disabled: true,
  'not-still': true,
  'command-failed': true,
  unsupported: true,
  unavailable: true,
  internal: true,
};

const holder: HolderReply = {
  token: 1,
  host: 'n1',
  reason: 'Mount',
  since: '2026-01-02T03:04:05Z',
};

/** The rows of the table below a heading, as cells. */
function tableBelow(file: string, heading: string): string[][] {
  const text = readFileSync(join(import.meta.dirname, '../../../docs', file), 'utf8');
  const section = text.slice(text.indexOf(`${heading}\n`)).split('\n|---')[1] ?? '';
  const rows = section.split('\n').slice(1);
  const end = rows.findIndex((row) => !row.startsWith('|'));
  return rows.slice(0, end).map((row) =>
    row
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}

/** Returns the text of a cell that is in code style. */
function quoted(cell = ''): string {
  return /`([^`]+)`/.exec(cell)?.[1] ?? '';
}

test('the catalogue lists every exit code, and no other', () => {
  const documented = tableBelow('errors-and-events.md', '## Exit codes of the berth command');
  const expected = Object.values(exitCodes).map(String);
  expect(documented.map(([code]) => code).sort()).toEqual(expected.sort());
});

test('the catalogue lists every error code with its HTTP status and exit code, and no other', () => {
  const documented = tableBelow('errors-and-events.md', '## Error codes');
  expect(documented.map(([code]) => quoted(code)).sort()).toEqual(Object.keys(codes).sort());
  const all = new Map(Object.keys(codes).map((code) => [code, code as FailureCode]));
  for (const [cell, status, exit = ''] of documented) {
    const code = all.get(quoted(cell)) ?? 'internal';
    const failure = { code, message: '' };
    expect([code, status]).toEqual([code, String(statusOf(failure))]);
    const found = [exitCodeOf({ ...failure, holders: [holder] }), exitCodeOf(failure)];
    expect([code, ...(exit.match(/\d/g) ?? [])]).toEqual([code, ...new Set(found)].map(String));
  }
});

test('the catalogue lists every kind of event, and no other', () => {
  const documented = tableBelow('errors-and-events.md', '## Events').map(([kind]) => quoted(kind));
  expect(documented.sort()).toEqual([...eventKinds].sort());
  const ofSentinel = reportSchema.shape.happenings.element.shape.kind.options;
  expect(documented).toEqual(expect.arrayContaining(ofSentinel));
});

test('the document of the doctor lists every kind of finding, and no other', () => {
  const documented = tableBelow('doctor.md', '# What interrupted operations leave behind');
  expect(documented.map(([kind]) => quoted(kind)).sort()).toEqual([...findingKinds].sort());
});

/** The programs that word a condition. */
const wordingConditions = [
  'plugin/admin/conditions.ts',
  'plugin/engine/names-in-the-way.ts',
  'plugin/fencing/fence-conditions.ts',
  'plugin/fencing/sentinel-watch.ts',
  'plugin/host/host-name.ts',
  'plugin/host/machine-copy.ts',
  'plugin/host/state-reserve.ts',
  'plugin/host/etcd-safety.ts',
  'lib/lock/lock-manager.ts',
  'lib/lock/stores/embedded/file-verdict.ts',
  'lib/lock/stores/embedded/sqlite-errors.ts',
  'lib/lock/stores/etcd/health.ts',
  'lib/lock/stores/history-texts.ts',
  'lib/lock/stores/etcd/keys.ts',
  'lib/volumes/mounts/found-mount.ts',
  'lib/volumes/mounts/mount-table.ts',
  'lib/volumes/pools/pool-conditions.ts',
  'lib/volumes/records/lost-records.ts',
  'lib/volumes/silence.ts',
  'lib/volumes/doctor/unreadable-records.ts',
  'lib/volumes/operations/fence-command.ts',
  'lib/etcd/errors.ts',
];
/** A text that becomes a condition, assigned to a name or given to a function that makes one. */
const wording =
  /(?:\b(?:message|text|problem) =(?: \(name: string\) =>)?|\b(?:warning|error)\(|Unavailable\(|return|\n {4}(?! ))\s*(?<quote>['"`])(?<text>(?:the |etcd )(?:(?!\k<quote>).)*)\k<quote>/g;

test('the catalogue lists every condition, and no other', () => {
  const source = wordingConditions.flatMap((path) => {
    const text = readFileSync(join(import.meta.dirname, '../../..', path), 'utf8');
    return [...text.matchAll(wording)].map(({ groups }) => withoutValues(groups?.text ?? ''));
  });
  const documented = tableBelow('errors-and-events.md', '## Conditions').map(([, text]) =>
    quoted(text),
  );
  const isDocumented = (text: string) => documented.some((start) => isStart(start, text));
  expect(source.filter((text) => !isDocumented(text))).toEqual([]);
  const isInSource = (start: string) => source.some((text) => isStart(start, text));
  expect(documented.filter((start) => !isInSource(start))).toEqual([]);
});

function withoutValues(text: string): string {
  return text.replaceAll(/\$\{[^}]*\}/g, '…');
}

/** Whether a documented text is the beginning of one in the source; a final … stands for any rest. */
function isStart(documented: string, text: string): boolean {
  return text.startsWith(documented.replace(/ …$/, ''));
}
