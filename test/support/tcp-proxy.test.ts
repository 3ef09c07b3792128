// The faults of the TCP proxy on real sockets of this machine; real time in tenths of a second.

import { once } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { eventually } from './eventually.ts';
import type { TcpProxy } from './tcp-proxy.ts';
import { startTcpProxy } from './tcp-proxy.ts';

/** One end of a connection, with the data it received and how it ended. */
interface End {
  readonly socket: Socket;
  received: string;
  isClosed: boolean;
  errorCode: string | undefined;
}

let stack: AsyncDisposableStack;
let proxy: TcpProxy;
/** The server's ends of the connections. */
let accepted: End[];

beforeEach(async () => {
  stack = new AsyncDisposableStack();
  accepted = [];
  const server = createServer((socket) => accepted.push(endOf(socket)));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  stack.defer(async () => {
    server.close();
    for (const { socket } of accepted) socket.destroy();
  });
  proxy = stack.use(await startTcpProxy(`127.0.0.1:${(server.address() as AddressInfo).port}`));
});
afterEach(() => stack.disposeAsync());

function endOf(socket: Socket): End {
  const end: End = { socket, received: '', isClosed: false, errorCode: undefined };
  socket.on('data', (chunk) => {
    end.received += chunk;
  });
  socket.on('error', (error: NodeJS.ErrnoException) => {
    end.errorCode = error.code;
  });
  socket.on('close', () => {
    end.isClosed = true;
  });
  stack.defer(() => {
    socket.destroy();
  });
  return end;
}

function client(): End {
  const [host, port] = proxy.address.split(':');
  return endOf(connect(Number(port), host));
}

/** Opens a connection on which both ends have received a hello. */
async function connection(): Promise<{ mine: End; theirs: End }> {
  const before = accepted.length;
  const mine = client();
  mine.socket.write('hello');
  await eventually(() => expect(accepted[before]?.received).toBe('hello'));
  const theirs = accepted[before];
  if (!theirs) throw new Error('nothing was accepted');
  theirs.socket.write('hello');
  await eventually(() => expect(mine.received).toBe('hello'));
  return { mine, theirs };
}

test('the proxy carries bytes both ways and passes on the close of either end', async () => {
  const one = await connection();
  one.mine.socket.end();
  await eventually(() => expect(one.theirs.isClosed).toBe(true));
  const two = await connection();
  two.theirs.socket.end();
  await eventually(() => expect(two.mine.isClosed).toBe(true));
});

test('cut ends all connections and refuses new ones until the fault is over', async () => {
  const { mine, theirs } = await connection();
  await proxy.cut();
  await eventually(() => expect([mine.isClosed, theirs.isClosed]).toEqual([true, true]));
  const refused = client();
  await eventually(() => expect(refused.errorCode).toBe('ECONNREFUSED'));
  await proxy.suffer('none');
  await connection();
});

test('reset breaks all connections and serves new ones', async () => {
  const { mine, theirs } = await connection();
  proxy.reset();
  await eventually(() => expect(mine.errorCode).toBe('ECONNRESET'));
  expect(theirs.isClosed).toBe(true);
  await connection();
});

test('swallow drops bytes for good without closing the connection', async () => {
  const { mine, theirs } = await connection();
  await proxy.suffer('swallow');
  mine.socket.write(' you?');
  theirs.socket.write(' you?');
  const unheard = client();
  unheard.socket.write('hello');
  await delay(50);
  await proxy.suffer('none');
  mine.socket.end('bye');
  await connection();
  await delay(50);
  expect([mine.received, theirs.received]).toEqual(['hello', 'hello']);
  expect([theirs.isClosed, unheard.isClosed]).toEqual([false, false]);
  expect(accepted.map(({ received }) => received).sort()).toEqual(['', 'hello', 'hello']);
});

test('hold keeps bytes back and delivers them in order when the fault is over', async () => {
  const { mine, theirs } = await connection();
  await proxy.suffer('hold');
  for (const word of [' are', ' you', ' there']) {
    mine.socket.write(word);
    await delay(10);
  }
  mine.socket.end();
  await delay(50);
  expect(theirs).toMatchObject({ received: 'hello', isClosed: false });
  await proxy.suffer('none');
  await eventually(() =>
    expect(theirs).toMatchObject({ received: 'hello are you there', isClosed: true }),
  );
});

test('a delay applies once to overlapping bytes: it does not add up', async () => {
  const { mine, theirs } = await connection();
  await proxy.suffer({ delayMs: 3_000 });
  const startedAt = performance.now();
  for (const word of [' are', ' you', ' there']) {
    mine.socket.write(word);
    await delay(10);
  }
  await eventually(() => expect(theirs.received).toBe('hello are you there'));
  expect(performance.now() - startedAt).toBeGreaterThan(3_015);
  expect(performance.now() - startedAt).toBeLessThan(8_900);
});
