import { expect, test } from '@jest/globals';
import { followWork } from '../../../cli/long-work.ts';
import type { LongWorkStep } from '../../../plugin/admin/api/long-work.ts';

const progress = (doneFiles: number) =>
  ({
    event: 'progress',
    doneBytes: 1024 * doneFiles,
    totalBytes: 4096,
    doneFiles,
    totalFiles: 4,
  }) as const;

/** Follows work that reports each 4 s; returns what is printed. */
async function printed(given: { readonly isTTY?: boolean; readonly json?: boolean }) {
  let text = '';
  let now = 0;
  async function* steps(): AsyncGenerator<LongWorkStep> {
    for (const doneFiles of [1, 2, 3, 4, 4, 4]) {
      now += 4_000;
      yield progress(doneFiles);
    }
    yield { event: 'done' };
  }
  const write = (part: string) => {
    text += part;
    return true;
  };
  const stderr = { isTTY: given.isTTY ?? false, write };
  await followWork({ stderr, json: given.json ?? false }, steps(), () => now);
  return text;
}

test('without a terminal, a line every 10 s tells how far the work is', async () => {
  expect(await printed({})).toBe(
    '75 % (3 KiB of 4 KiB, 3 of 4 files)\n100 % (4 KiB of 4 KiB, 4 of 4 files)\n',
  );
});

test('on a terminal, each report replaces the line before', async () => {
  const text = await printed({ isTTY: true });
  expect(text).toContain('\r\u001b[K25 % (1 KiB of 4 KiB, 1 of 4 files)\r\u001b[K50 %');
  expect(text.endsWith('\r\u001b[K')).toBe(true);
});

test('with --json nothing is printed', async () => {
  expect(await printed({ json: true })).toBe('');
});
