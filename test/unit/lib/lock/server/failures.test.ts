import { expect, test } from '@jest/globals';
import { failureOf } from '../../../../../lib/lock/server/events.ts';

test('an unexpected error reaches a client without its text', () => {
  const failure = failureOf(new Error('can not parse {"holder":"a secret"}'));
  expect(failure.code).toBe('internal');
  expect(failure.message).toBe('the lock server failed; DEBUG=berth:lock-server says why');
});
