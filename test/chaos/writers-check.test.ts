// The checker of the writers' files: each law is shown a file that breaks it; no containers.
import { expect, test } from '@jest/globals';
import { parseRecord, writersFigures, writerViolations } from './writers-check.ts';

/** Builds the lines of one start of a container, each 10 ms after the one before. */
function lines(
  host: string,
  token: number,
  counters: readonly number[],
  start = `${host}${token}`,
) {
  return counters.map((counter) => `${host} ${token} ${start} ${counter} ${token}.0${counter}`);
}

const one = lines('n1', 10, [1, 2, 3]);
const two = lines('n2', 20, [1, 2]);

function violations(file: readonly string[], acknowledged = file): string[] {
  return writerViolations({ volume: 'db', file, acknowledged });
}

test('the checker accepts hosts that take turns', () => {
  const again = lines('n1', 30, [1, 2]);
  expect(violations([...one, ...two, ...again])).toEqual([]);
});

test('the checker accepts a container that is started again under the same lock', () => {
  expect(violations([...one, ...lines('n1', 10, [1, 2], 'again')])).toEqual([]);
});

test('the checker accepts a record without acknowledgement, present or not', () => {
  expect(violations([...one, ...two], one)).toEqual([]);
  expect(violations(one, one.slice(0, 2))).toEqual([]);
});

test('the checker accepts the hole of a write without acknowledgement', () => {
  const holed = [...one, `\0\0\0\0${two[0]}`, ...two.slice(1)];
  expect(violations(holed, [...one, ...two])).toEqual([]);
  const gone = [...one.slice(0, 2), `\0\0\0\0${two[0]}`, ...two.slice(1)];
  expect(violations(gone, [...one, ...two])).toEqual([`db: lost: ${one[2]}`]);
});

test('the checker reports a write of a host that has lost the volume', () => {
  const late = lines('n1', 10, [4]);
  expect(violations([...one, ...two, ...late])).toEqual([
    "db: n1's record 4 (token 10, line 6) was written after n2's record 2 (token 20, line 5): two hosts wrote at once",
  ]);
});

test('the checker reports a host that began to write before the one before it had ended', () => {
  expect(violations([...one, 'n2 20 early 1 10.01'])).toEqual([
    "db: n2's record 1 (token 20, line 4) began 20 ms before n1's record 3 (token 10, line 3): two hosts wrote at once",
  ]);
});

test('the checker reports two hosts with one token', () => {
  expect(violations([...one, ...lines('n2', 10, [1])])).toEqual(["db: token 10 was n1's and n2's"]);
});

test('the checker reports two containers of one host that write at once', () => {
  const beside = lines('n1', 10, [1], 'beside');
  expect(violations([...one.slice(0, 2), ...beside, ...one.slice(2)])).toEqual([
    "db: n1's record 3 (token 10, line 4) was written at the same time as n1's record 1 (token 10, line 3): two containers of one host",
  ]);
});

test('the checker reports a missing record and a duplicate record', () => {
  expect(violations(lines('n1', 10, [1, 3]))).toEqual([
    "db: n1's record 3 (token 10, line 2) is at the place of record 2",
  ]);
  expect(violations(lines('n1', 10, [1, 2, 2]))).toEqual([
    "db: n1's record 2 (token 10, line 3) is at the place of record 3",
  ]);
  expect(violations(lines('n1', 10, [2]))).toEqual([
    "db: n1's record 2 (token 10, line 1) is at the place of record 1",
  ]);
});

test('the checker reports a lost record that was acknowledged', () => {
  expect(violations(one.slice(0, 2), one)).toEqual([`db: lost: ${one[2]}`]);
});

test('the checker reports a torn line', () => {
  expect(violations([...one, 'n1 10 n1'])).toEqual(['db: line 4 is torn: "n1 10 n1"']);
});

test('the checker reports a run without writes, and at most six lines of one kind', () => {
  expect(violations([])).toEqual(['db: nothing was acknowledged']);
  expect(violations([], lines('n1', 1, [1, 2, 3, 4, 5, 6, 7]))).toHaveLength(6);
});

test('the figures count changes of host and the time without an acknowledged record', () => {
  const again = lines('n2', 25, [1]);
  const figures = writersFigures({
    volume: 'db',
    file: [...one, ...two, ...again],
    acknowledged: [...one, ...two.slice(1), ...again],
  });
  expect(figures).toEqual({
    acknowledged: 5,
    turns: 3,
    failovers: 1,
    longestGapMs: 9_990,
    medianHandoverMs: 9_990,
  });
});

test('a line of a writer is parsed into its record', () => {
  expect(parseRecord('n1 10 8b-1 7 5123.45')).toEqual({
    host: 'n1',
    token: 10,
    start: '8b-1',
    counter: 7,
    atMs: 5_123_450,
  });
  expect(parseRecord('n1 10 8b-1 7')).toBeUndefined();
});
