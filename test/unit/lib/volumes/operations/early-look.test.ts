// When an operation may use what it has seen before it got its lock. Pure, with a clock of the test.
import { expect, test } from '@jest/globals';
import { EarlyLook } from '../../../../../lib/volumes/operations/early-look.ts';

function looks() {
  const seen: string[] = [];
  let ms = 0;
  const look = new EarlyLook({ now: () => ms }, async (driver) => {
    seen.push(driver);
    if (driver === 'broken') throw new Error(`the pool of ${driver} is away`);
  });
  return { seen, look, pass: (passed: number) => (ms += passed) };
}

test('a look that began shortly before is used', async () => {
  const { seen, look, pass } = looks();
  await look.begin('image');
  pass(499);
  await look.done('image');
  expect(seen).toEqual(['image']);
});

test('a look is repeated when it is older, and when it was one at another driver', async () => {
  const { seen, look, pass } = looks();
  await look.begin('image');
  pass(500);
  await look.done('image');
  await look.done('directory');
  expect(seen).toEqual(['image', 'image', 'directory']);
});

test('without an early look, one begins when it is needed', async () => {
  const { seen, look } = looks();
  await look.done('image');
  expect(seen).toEqual(['image']);
});

test('an early look that fails is heard when its result is needed, and only then', async () => {
  const { look } = looks();
  look.begin('broken').catch(() => {});
  await expect(look.done('broken')).rejects.toThrow('the pool of broken is away');
});
