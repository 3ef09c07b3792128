import type { Gate, LockRequest } from '../../ticket.ts';
import type { Disabled } from '../ticket-store.ts';
import type { LockFile } from './lock-file.ts';
import { toGate } from './statements.ts';

/** The closed gates in the file. */
export class Gates {
  readonly #file: LockFile;

  constructor(file: LockFile) {
    this.#file = file;
  }

  close(gate: Gate): void {
    this.#file.write((effects) => {
      const { changes } = this.#file.statements.closeGate.run(gate.lockName, JSON.stringify(gate));
      if (changes > 0) effects.closedGates.push(gate);
    });
  }

  open(lockName: string): void {
    this.#file.write((effects) => {
      const { changes } = this.#file.statements.openGate.run(lockName);
      if (changes > 0) effects.openedGates.push(lockName);
    });
  }

  all(): readonly Gate[] {
    return this.#file.statements.gates.all().map(toGate);
  }

  /** Answers a request for these locks if a gate is closed. Part of the caller's transaction. */
  disabled(locks: readonly LockRequest[]): Disabled | undefined {
    const gates = locks
      .flatMap(({ name }) => this.#file.statements.gate.all(name).map(toGate))
      .sort((a, b) => (a.lockName < b.lockName ? -1 : 1));
    return gates.length > 0 ? { state: 'disabled', gates } : undefined;
  }
}
