import { readlinkSync } from 'node:fs';
import { bootId } from './boot.ts';
import { processStatSync } from './proc.ts';

/** Identifies one run of one process, also against a later process with the same ID. */
export interface ProcessIdentity {
  readonly pid: number;
  /** When the process started, in clock ticks since boot. */
  readonly started: string;
  /** The ID of the boot in which it runs. */
  readonly boot: string;
  /** The PID namespace of its ID. */
  readonly namespace: string;
}

/** Returns the identity of the running process. */
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
 * Tells whether `other` still runs, as `self` sees it. `unknown` if its ID belongs to another PID
 * namespace (another container), or /proc can't be read.
 */
export function isRunning(other: ProcessIdentity, self: ProcessIdentity): boolean | 'unknown' {
  if (other.boot !== self.boot) return false;
  if (other.namespace !== self.namespace) return 'unknown';
  try {
    const stat = processStatSync(other.pid);
    // A dead process that its parent has not collected yet (Z) holds nothing any more.
    return stat?.started === other.started && stat.state !== 'Z' && stat.state !== 'X';
  } catch {
    return 'unknown';
  }
}
