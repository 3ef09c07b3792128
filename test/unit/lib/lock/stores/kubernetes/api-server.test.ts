// The calls to an API server, against an HTTP server that answers what a test says.
import type { RequestListener, Server } from 'node:http';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, test } from '@jest/globals';
import { StoreRefusedError, StoreUnavailableError } from '../../../../../../lib/lock/errors.ts';
import { ApiServer } from '../../../../../../lib/lock/stores/kubernetes/api-server.ts';

let server: Server | undefined;

afterEach(() => {
  server?.closeAllConnections();
  server?.close();
});

/** Starts a server; resolves to its URL. */
async function serve(listener: RequestListener): Promise<string> {
  const started = createServer(listener);
  server = started;
  await new Promise<void>((resolve) => started.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(started.address() as AddressInfo).port}`;
}

const event = (type: string, name: string) =>
  `${JSON.stringify({ type, object: { metadata: { name } } })}\n`;

test('a watch whose event throws ends, and closes its connection', async () => {
  const closed = Promise.withResolvers<void>();
  const url = await serve((_request, response) => {
    response.on('close', () => closed.resolve());
    response.write(event('DELETED', 'a')); // It goes on, as a watch does after a DELETED.
  });
  using api = new ApiServer({ server: url });
  const ending = new AbortController();
  const watching = api.watch(
    '/objects?watch=true',
    () => {
      throw new Error('the watch has ended');
    },
    ending.signal,
  );
  await expect(watching).rejects.toThrow(StoreUnavailableError);
  await closed.promise;
  ending.abort(); // An error of the stream that nobody heard would end this process.
});

test('a watch reports events whose text arrives in parts, and ends with the server', async () => {
  const url = await serve((_request, response) => {
    const text = event('ADDED', 'ä') + event('MODIFIED', 'b') + event('BOOKMARK', 'c');
    const bytes = Buffer.from(text);
    const cut = bytes.indexOf('ä') + 1; // In the middle of a letter.
    response.write(bytes.subarray(0, cut));
    setImmediate(() => response.end(bytes.subarray(cut)));
  });
  using api = new ApiServer({ server: url });
  const seen: string[] = [];
  const { signal } = new AbortController();
  await api.watch('/objects', ({ type, object }) => seen.push(type + object.metadata.name), signal);
  expect(seen).toEqual(['ADDEDä', 'MODIFIEDb', 'BOOKMARKc']);
});

test('a watch that is refused says so', async () => {
  const url = await serve((_request, response) => {
    response.writeHead(403).end(JSON.stringify({ message: 'no watch' }));
  });
  using api = new ApiServer({ server: url });
  const watching = api.watch('/objects?watch=true', () => {}, new AbortController().signal);
  await expect(watching).rejects.toThrow(StoreRefusedError);
  await expect(watching).rejects.toThrow(/refuses GET \/objects: no watch; give the account/);
});

test('keeps the path of the server, behind a proxy', async () => {
  const url = await serve((request, response) => {
    response.end(JSON.stringify({ url: request.url }));
  });
  using api = new ApiServer({ server: `${url}/k8s/clusters/c1/` });
  expect(await api.call('GET', '/api/v1')).toEqual({ url: '/k8s/clusters/c1/api/v1' });
});

test('says that the server did not answer in time, before and within the answer', async () => {
  const url = await serve((request, response) => {
    if (request.url === '/half') response.write('{');
  });
  using api = new ApiServer({ server: url, callTimeoutMs: 100 });
  for (const path of ['/none', '/half']) {
    await expect(api.call('GET', path)).rejects.toThrow(/does not answer: no answer in time$/);
  }
});

test('a missing object is an error of the store that names the server and the call', async () => {
  const url = await serve((_request, response) => {
    response.writeHead(404).end(JSON.stringify({ message: 'namespaces "shop" not found' }));
  });
  using api = new ApiServer({ server: url });
  const calling = api.call('POST', '/leases', { body: {} });
  await expect(calling).rejects.toThrow(StoreRefusedError);
  await expect(calling).rejects.toThrow(
    `the API server ${url} refuses POST /leases: namespaces "shop" not found`,
  );
});
