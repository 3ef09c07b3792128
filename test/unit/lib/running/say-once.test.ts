// Complaints that are logged once until they change.

import { expect, test } from '@jest/globals';
import { SayOnce, SayOnceEach } from '../../../../lib/running/say-once.ts';

test('says a complaint once until it changes', () => {
  const said: string[] = [];
  const once = new SayOnce((text) => said.push(text));
  for (const text of ['a', 'a', 'b', 'b', 'a']) once.say(text);
  expect(said).toEqual(['a', 'b', 'a']);
  expect(once.last).toBe('a');
});

test('says the same complaint again after all was well', () => {
  const said: string[] = [];
  const once = new SayOnce((text) => said.push(text));
  once.say('a');
  once.clear();
  expect(once.last).toBeUndefined();
  once.say('a');
  expect(said).toEqual(['a', 'a']);
});

test('tells subjects apart', () => {
  const said: string[] = [];
  const each = new SayOnceEach((subject, text) => said.push(`${subject}: ${text}`));
  each.say('x', 'a');
  each.say('y', 'a');
  each.say('x', 'a');
  each.clear('x');
  each.say('x', 'a');
  each.say('y', 'a');
  expect(said).toEqual(['x: a', 'y: a', 'x: a']);
});
