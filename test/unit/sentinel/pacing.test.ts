import { expect, test } from '@jest/globals';
import { lookEveryMs } from '../../../sentinel/pacing.ts';

test('looks beside thousands of processes leave the processor to others while everybody stands still', () => {
  for (const pace of ['fenced', 'waiting'] as const) {
    expect(lookEveryMs(pace, 1_500)).toBe(4_500);
    expect(lookEveryMs(pace, 10)).toBeLessThanOrEqual(1_000);
  }
});

test('looks follow each other while somebody has to be found before a deadline', () => {
  for (const pace of ['guarding', 'stopping'] as const) {
    expect(lookEveryMs(pace, 1_500)).toBe(500);
  }
});
