import type { Failure } from '../plugin/admin/api/long-work.ts';
import { AdminError, DaemonUnavailableError } from './admin-client.ts';
import { exitCodeOf, exitCodes } from './exit-code.ts';

/** The exit code, the message and the advice for a failed command. */
export interface Explanation {
  readonly exitCode: number;
  readonly message: string;
  /** Advice, one line each. */
  readonly next: readonly string[];
  readonly failure?: Failure;
}

/** Explains an error of a command. Returns undefined for an error that only a bug can cause. */
export function explain(error: unknown, volume: string | undefined): Explanation | undefined {
  if (error instanceof DaemonUnavailableError) {
    const { message } = error;
    return { exitCode: exitCodes.unavailable, message, next: daemonAdvice(error) };
  }
  if (error instanceof AdminError) {
    const { failure, message } = error;
    const exitCode = exitCodeOf(failure);
    return { exitCode, message, next: error.next ?? advice(failure, volume), failure };
  }
  return undefined;
}

function daemonAdvice({ reason }: DaemonUnavailableError): string[] {
  if (reason === 'EACCES' || reason === 'EPERM') return ['run it as root: sudo berth …'];
  return [
    'start the daemon: berth serve',
    'or name its socket: --admin-socket PATH, or BERTH_ADMIN_SOCKET',
  ];
}

function advice({ code, holders }: Failure, volume = 'VOLUME'): string[] {
  switch (code) {
    case 'not-found':
      return ['list the volumes: berth volume ls'];
    case 'in-use':
      // Without a holder, no lock is in the way: a snapshot, a rule or a container of this host is.
      return holders?.length ? lockAdvice(volume) : [];
    case 'contended':
    case 'timeout':
      return lockAdvice(volume);
    case 'refused':
      return holders?.length
        ? [`see what can be cleared, and how: berth lock clear ${volume}`]
        : ['nothing is left to clear'];
    case 'unavailable':
      return ['see the state of the store: berth status'];
    case 'invalid':
    case 'exists':
    case 'lost':
    case 'cancelled':
    case 'disabled':
    case 'not-still':
    case 'command-failed':
    case 'unsupported':
    case 'internal':
      return [];
  }
}

function lockAdvice(volume: string): string[] {
  return [
    `see who holds it and who waits: berth lock inspect ${volume}`,
    `if that host is dead: berth lock clear ${volume}`,
  ];
}
