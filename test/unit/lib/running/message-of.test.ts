// The text of whatever was thrown.

import { readFile } from 'node:fs/promises';
import { expect, test } from '@jest/globals';
import { messageOf } from '../../../../lib/running/message-of.ts';

test('gives the message of an error, also of one from another realm', async () => {
  expect(messageOf(new TypeError('no'))).toBe('no');
  const error = await readFile('/no/such/file').catch((reason: unknown) => reason);
  expect(messageOf(error)).toMatch(/^ENOENT/);
});

test('gives anything else that was thrown as text', () => {
  expect(messageOf('no')).toBe('no');
  expect(messageOf(undefined)).toBe('undefined');
});
