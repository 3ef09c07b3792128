import type { Failure } from '../plugin/admin/api.ts';
import { AdminError, DaemonUnavailableError } from './admin-client.ts';
import { exitCodeOf, exitCodes } from './exit-code.ts';

/** What a failed command leaves behind for its user. */
export interface Explanation {
  readonly exitCode: number;
  readonly message: string;
  /** What to do about it, a line each. */
  readonly next: readonly string[];
  readonly failure?: Failure;
}

/** Says what failed and what to do next. Undefined: a bug of ours. */
export function explain(error: unknown, volume: string | undefined): Explanation | undefined {
  if (error instanceof DaemonUnavailableError) {
    const { message } = error;
    return { exitCode: exitCodes.unavailable, message, next: daemonAdvice(error) };
  }
  if (error instanceof AdminError) {
    const { failure, message } = error;
    const exitCode = exitCodeOf(failure);
    return { exitCode, message, next: advice(failure, volume), failure };
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
      return ['what there is: berth volume ls'];
    case 'in-use':
    case 'contended':
    case 'timeout':
      return [
        `who holds it and who waits: berth lock inspect ${volume}`,
        `if that host is gone for good: berth lock clear ${volume}`,
      ];
    case 'refused':
      return holders?.length
        ? [`what can be cleared, and how: berth lock clear ${volume}`]
        : ['nothing is left to clear'];
    case 'unavailable':
      return ["the daemon's view of its store: berth status"];
    case 'invalid':
    case 'exists':
    case 'lost':
    case 'cancelled':
    case 'disabled':
    case 'unsupported':
    case 'internal':
      return [];
  }
}
