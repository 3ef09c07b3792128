import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import type { UnixServer } from '../../lib/linux/unix-server.ts';
import { listenOnUnixSocket } from '../../lib/linux/unix-server.ts';
import { LockManager } from '../../lib/lock/lock-manager.ts';
import { memoryState, memoryStore } from '../../lib/lock/stores/memory/store.ts';
import { LockDriver } from '../../lib/lock/use/lock-driver.ts';
import { systemClock } from '../../lib/running/clock.ts';
import type { Finding } from '../../lib/volumes/doctor/finding.ts';
import { Prune } from '../../lib/volumes/operations/prune.ts';
import { UncleanEnds } from '../../lib/volumes/operations/unclean-ends.ts';
import { Claims } from '../../lib/volumes/records/claims.ts';
import type { RemovedVolume } from '../../lib/volumes/records/removed-volumes.ts';
import type { ConditionReply, MemberReply } from '../../plugin/admin/api/status.ts';
import { adminApp } from '../../plugin/admin/app.ts';
import { EventLog } from '../../plugin/events/event-log.ts';
import { memoryTrash } from './memory-trash.ts';
import { MemoryVolumes } from './memory-volumes.ts';

export interface AdminAnswer {
  readonly status: number | undefined;
  readonly body: unknown;
}

/**
 * The admin socket of host `n1` with volumes in memory and real locks behind it, shared with host
 * `n2` over a memory store.
 */
export interface AdminSocket extends AsyncDisposable {
  readonly path: string;
  readonly server: UnixServer;
  readonly volumes: MemoryVolumes;
  readonly n1: LockManager;
  readonly n2: LockManager;
  /** The state of the store that `status` reports. */
  readonly store: { kind: string; reachable: boolean; members?: readonly MemberReply[] };
  /** The conditions that `status` reports. */
  readonly conditions: ConditionReply[];
  readonly events: EventLog;
  /** The doctor's findings; each is fixed on request. */
  readonly findings: Finding[];
  /** The removed volumes in the trash. */
  readonly removed: RemovedVolume[];
  /** Aborts when the daemon is about to stop. */
  readonly stopping: AbortController;
  call(method: string, path: string, body?: unknown): Promise<AdminAnswer>;
  /** Starts a long operation: its events one by one, and a way to hang up before its end. */
  stream(path: string, body?: unknown): { readonly events: AsyncIterator<unknown>; leave(): void };
}

export async function openAdminSocket(): Promise<AdminSocket> {
  const dir = mkdtempSync(join(tmpdir(), 'berth-'));
  const shared = memoryState(systemClock());
  const ticketStore = memoryStore({ shared });
  const host = (name: string, of = memoryStore({ shared })) =>
    new LockManager({ store: of, host: name, owner: name, ttlMs: 30_000 });
  const [n1, n2] = [host('n1', ticketStore), host('n2')];
  const volumes = new MemoryVolumes();
  const store: AdminSocket['store'] = { kind: 'embedded', reachable: true };
  const conditions: ConditionReply[] = [];
  const events = new EventLog();
  const findings: Finding[] = [];
  const stopping = new AbortController();
  const locks = new LockDriver(n1, 5_000);
  const removed: RemovedVolume[] = [];
  const app = adminApp({
    trash: memoryTrash(removed),
    prune: new Prune({
      ...{ volumes, clock: systemClock() },
      lastUses: { read: async () => ({ is: 'unknown' }) },
    }),
    volumes,
    locks,
    clearer: locks,
    uncleanEnds: new UncleanEnds({
      ...{ store: ticketStore, mirror: n1.mirror, events, claimant: { owner: 'n1' } },
      claims: new Claims(ticketStore, 'n1'),
    }),
    doctor: {
      examine: async ({ fix }) =>
        findings.map((finding) => ({ ...finding, state: fix && finding.fix ? 'fixed' : 'found' })),
      restoreRecords: async () => [],
      forgetRecords: async () => [],
    },
    acceptStore: async () => false,
    status: async () => ({ release: '0.1.0', host: 'n1', store, mounts: [], conditions }),
    events,
    stopping: stopping.signal,
  });
  const server = await listenOnUnixSocket(app, { path: join(dir, 'admin.sock'), mode: 0o600 });

  const send = (method: string, path: string, body: unknown) => {
    const sent = body === undefined || typeof body === 'string' ? body : JSON.stringify(body);
    const outgoing = request({ socketPath: server.path, method, path, agent: false });
    outgoing.end(sent);
    const answered = once(outgoing, 'response').then(([response]): IncomingMessage => response);
    return { outgoing, answered };
  };

  return {
    path: server.path,
    server,
    volumes,
    n1,
    n2,
    store,
    conditions,
    events,
    findings,
    removed,
    stopping,
    async call(method, path, body) {
      const response = await send(method, path, body).answered;
      return { status: response.statusCode, body: JSON.parse(await text(response)) };
    },
    stream(path, body) {
      const { outgoing, answered } = send('POST', path, body);
      outgoing.on('error', () => undefined);
      return { events: eventsOf(answered), leave: () => outgoing.destroy() };
    },
    async [Symbol.asyncDispose]() {
      await server.close({ graceMs: 0 });
      await Promise.all([n1.close({ keep: false }), n2.close({ keep: false })]);
      rmSync(dir, { recursive: true });
    },
  };
}

async function* eventsOf(answered: Promise<IncomingMessage>): AsyncGenerator<unknown> {
  const response = await answered;
  for await (const line of createInterface({ input: response })) yield JSON.parse(line);
}
