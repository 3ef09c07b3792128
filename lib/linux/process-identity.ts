import { readlinkSync } from 'node:fs';
import { bootId } from './boot.ts';
import { processStatSync } from './proc.ts';

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
  const stat = processStatSync('self');
  if (!stat) throw new Error('this process is not in /proc');
  return {
    pid: process.pid,
    started: stat.started,
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
    const stat = processStatSync(other.pid);
    // A killed process that its parent has not collected yet (Z) holds nothing any more.
    return stat?.started === other.started && stat.state !== 'Z' && stat.state !== 'X';
  } catch {
    return 'unknown';
  }
}
