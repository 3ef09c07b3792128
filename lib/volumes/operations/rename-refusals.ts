import { ExistsError, InUseError } from '../errors.ts';
import type { VolumeRecord } from '../volume.ts';

/** Returns the command that begins or completes a rename. */
export function renameCommand(name: string, to: string): string {
  return `berth volume rename ${name} ${to}`;
}

/** Throws for a volume whose rename was interrupted, and for the name that such a volume gets. */
export function refuseRenaming(record: VolumeRecord): void {
  const { name, renamingTo } = record;
  if (renamingTo !== undefined) {
    throw new InUseError(
      `volume ${name} is being renamed to ${renamingTo}, and that was interrupted; complete it with: ` +
        `${renameCommand(name, renamingTo)}, or: berth doctor --fix`,
    );
  }
  refuseKeptName(record);
}

/** Throws for the name that a volume gets whose rename was interrupted. */
export function refuseKeptName({ name, renamingFrom }: VolumeRecord): void {
  if (renamingFrom === undefined) return;
  throw new ExistsError(
    `volume ${renamingFrom} is being renamed to ${name}, and that was interrupted; complete it with: ` +
      `${renameCommand(renamingFrom, name)}, or: berth doctor --fix`,
  );
}
