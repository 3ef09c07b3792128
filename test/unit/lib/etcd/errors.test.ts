// The messages of failed calls, with a client of etcd that reaches nobody.
import { expect, test } from '@jest/globals';
import { Etcd3 } from 'etcd3';
import { callError, EtcdCallError } from '../../../../lib/etcd/errors.ts';

test('a message does not end with a note that is empty', async () => {
  // Nobody listens on the port of tcpmux.
  const etcd = new Etcd3({ hosts: 'http://127.0.0.1:1' });
  const error = await etcd.get('key').catch(callError);
  etcd.close();
  expect(error).toBeInstanceOf(EtcdCallError);
  expect(String(error)).toMatch(/ECONNREFUSED 127\.0\.0\.1:1\.$/);
});
