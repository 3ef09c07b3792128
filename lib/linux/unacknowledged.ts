// The socket option TCP_USER_TIMEOUT, which Node does not have. Importing this file fails where koffi has no library
// for the machine.

import type { Socket } from 'node:net';
import koffi from 'koffi';
import { descriptorOf } from './socket-descriptor.ts';

/** Numbers of <netinet/in.h> and <linux/tcp.h>, the same on every architecture. */
const tcp = 6;
const userTimeout = 18;

const c = koffi.load(null);
const setsockopt = c.func(
  'int setsockopt(int fd, int level, int name, const int *value, unsigned int size)',
);

/**
 * Has the kernel end a TCP connection when what was sent on it is not acknowledged for `limitMs`: the other
 * machine has vanished. Without the limit that takes a quarter of an hour, and probes of an idle connection
 * (`setKeepAlive`) do not help while something is under way. Returns false if the kernel has refused.
 */
export function limitUnacknowledged(socket: Socket, limitMs: number): boolean {
  const fd = descriptorOf(socket);
  return fd !== undefined && setsockopt(fd, tcp, userTimeout, [limitMs], 4) === 0;
}
