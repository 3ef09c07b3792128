import { readFileSync, readlinkSync } from 'node:fs';
import { bootId } from './boot.ts';

/** One run of one process, told from any other, also from a later one with the same number. */
export interface ProcessIdentity {
  readonly pid: number;
  /** When it started, in clock ticks since boot. */
  readonly started: string;
  /** The boot it runs under. */
  readonly boot: string;
  /** The PID namespace that its number belongs to. */
  readonly namespace: string;
}

/** The running process, as others on this host can see it. Needs Linux's /proc. */
export function thisProcess(readBootId: () => string = bootId): ProcessIdentity {
  return {
    pid: process.pid,
    started: statOf('self').started,
    boot: readBootId(),
    namespace: readlinkSync('/proc/self/ns/pid'),
  };
}

export function isSameProcess(a: ProcessIdentity, b: ProcessIdentity): boolean {
  return (
    a.pid === b.pid && a.started === b.started && a.boot === b.boot && a.namespace === b.namespace
  );
}

/**
 * Whether `other` still runs; `self` is asking. `unknown` when it can't be seen from here: its
 * number belongs to another PID namespace (another container), or /proc does not let us look.
 */
export function isRunning(other: ProcessIdentity, self: ProcessIdentity): boolean | 'unknown' {
  if (other.boot !== self.boot) return false;
  if (other.namespace !== self.namespace) return 'unknown';
  try {
    const { started, state } = statOf(other.pid);
    // A killed process that its parent has not collected yet (Z) holds nothing any more.
    return started === other.started && state !== 'Z' && state !== 'X';
  } catch (error) {
    return isNoSuchProcess(error) ? false : 'unknown';
  }
}

/** The command name, field 2, may hold blanks and brackets: count from the last bracket. */
function statOf(pid: number | 'self'): { readonly state: string; readonly started: string } {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state, started] = [fields[0], fields[19]];
  if (state === undefined || started === undefined) throw new Error(`/proc/${pid}/stat is cut off`);
  return { state, started };
}

function isNoSuchProcess(error: unknown): boolean {
  const code = Error.isError(error) && 'code' in error ? error.code : undefined;
  return code === 'ENOENT' || code === 'ESRCH';
}
