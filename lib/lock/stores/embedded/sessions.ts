import { randomUUID } from 'node:crypto';
import type { ProcessIdentity } from '../../../linux/process-identity.ts';
import { isRunning, isSameProcess } from '../../../linux/process-identity.ts';
import { SessionGoneError } from '../../errors.ts';
import type { Effects } from '../effects.ts';
import type { OpenSession, SessionRequest } from '../ticket-store.ts';
import type { LockFile } from './lock-file.ts';
import { toSession, toTicket } from './statements.ts';

/**
 * The sessions in the file. A session has no TTL and ends with its process; a resumable one ends
 * when it is closed or the host reboots. Its row names the process that has opened or resumed it last; a
 * step of an earlier process, which its heir could not see, finds the session **taken**.
 */
export class Sessions {
  readonly #file: LockFile;
  readonly #self: ProcessIdentity;
  /** The sessions that this client has opened or resumed. */
  readonly #own = new Set<string>();

  constructor(file: LockFile, self: ProcessIdentity) {
    this.#file = file;
    this.#self = self;
  }

  /** Opens a session. Throws if the session to resume belongs to another running process. */
  open(request: SessionRequest): OpenSession {
    const opened = this.#file.write((effects) => {
      this.#drop(this.#dead(), effects);
      return this.#resume(request) ?? this.#create(request);
    });
    this.#own.add(opened.id);
    return opened;
  }

  /** Throws `SessionGoneError` if the session has ended or is taken. May be part of a transaction. */
  check(id: string): void {
    if (this.isTaken(id)) throw new SessionGoneError(`another process has resumed session ${id}`);
    if (this.#file.statements.session.get(id) !== undefined) return;
    throw new SessionGoneError(`session ${id} has ended`);
  }

  /** True if another process has resumed a session of this client. May be part of a transaction. */
  isTaken(id: string): boolean {
    if (!this.#own.has(id)) return false;
    const row = this.#file.statements.session.get(id);
    return row !== undefined && !isSameProcess(toSession(row), this.#self);
  }

  /** Ends a session; without any effect if it is taken. */
  close(id: string): void {
    this.#file.write((effects) => {
      if (!this.isTaken(id)) this.#drop([id], effects);
    });
  }

  /** True if the session's process runs, or is not visible here: nobody may take its locks then. */
  isAlive(id: string): boolean {
    const row = this.#file.statements.session.get(id);
    return row !== undefined && isRunning(toSession(row), this.#self) !== false;
  }

  /** True if the host has been booted since a session was opened, and `dropDead` has not ended it. */
  hasOfEarlierBoot(): boolean {
    const { boot } = this.#self;
    return this.#file.statements.mortalSessions
      .all(boot)
      .some((row) => toSession(row).boot !== boot);
  }

  /** True if `dropDead` would end a session. */
  hasDead(): boolean {
    return this.#dead().length > 0;
  }

  /** Ends the sessions of processes that no longer run; true if there were any. */
  dropDead(effects: Effects): boolean {
    const dead = this.#dead();
    this.#drop(dead, effects);
    return dead.length > 0;
  }

  #resume({ owner, resumable, resume }: SessionRequest): OpenSession | undefined {
    const { session: byId, resumableSession } = this.#file.statements;
    const row = resume === undefined ? undefined : byId.get(resume);
    if (!row) {
      // A daemon that has lost its session's id is the only one that can end that session.
      const left = resumable ? resumableSession.all(owner).map(toSession) : [];
      const dead = left.find((session) => isRunning(session, this.#self) === false);
      return dead && this.#adopt(dead.id, owner, resumable);
    }
    const session = toSession(row);
    // In a recreated container the old process is not visible; knowing its id proves the successor.
    if (!isSameProcess(session, this.#self) && isRunning(session, this.#self) === true) {
      throw new Error(
        `lock session ${session.id} belongs to process ${session.pid}, which is still running`,
      );
    }
    return this.#adopt(session.id, owner, resumable);
  }

  #adopt(id: string, owner: string, resumable: boolean): OpenSession {
    const { pid, started, boot, namespace } = this.#self;
    const values = [owner, Number(resumable), pid, started, boot, namespace] as const;
    this.#file.statements.adoptSession.run(...values, id);
    return { id, ttlMs: Number.POSITIVE_INFINITY, resumed: true };
  }

  #create({ owner, resumable }: SessionRequest): OpenSession {
    const id = randomUUID();
    const { pid, started, boot, namespace } = this.#self;
    const values = [owner, Number(resumable), pid, started, boot, namespace] as const;
    this.#file.statements.writeSession.run(id, ...values);
    return { id, ttlMs: Number.POSITIVE_INFINITY, resumed: false };
  }

  #dead(): string[] {
    return this.#file.statements.mortalSessions
      .all(this.#self.boot)
      .map(toSession)
      .filter((session) => !isSameProcess(session, this.#self))
      .filter((session) => isRunning(session, this.#self) === false)
      .map(({ id }) => id);
  }

  #drop(ids: readonly string[], effects: Effects): void {
    const { ticketsOfSession, deleteTicket, deleteSession } = this.#file.statements;
    for (const id of ids) {
      for (const ticket of ticketsOfSession.all(id).map(toTicket)) {
        deleteTicket.run(ticket.token);
        effects.removedTickets.push({ id: ticket.id, nonce: ticket.nonce });
      }
      deleteSession.run(id);
    }
  }
}
