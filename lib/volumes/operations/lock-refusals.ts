import {
  LockCancelledError,
  LockContendedError,
  LockDisabledError,
  LockError,
  LockTimeoutError,
} from '../../lock/errors.ts';
import { isPermanent } from '../../lock/permanent-session.ts';
import type { Gate, Ticket } from '../../lock/ticket.ts';
import { disabledVolumes } from '../../lock/use/disabled-volume.ts';
import { lockName } from '../../lock/use/use.ts';
import { diskProblem, isDiskProblem } from '../../running/disk-problem.ts';
import { DisabledError, InUseError, UnavailableError, VolumeError } from '../errors.ts';

/** Returns an `onWait` that gives up at once when the volume is mounted: a mount may last for ever. */
export function refuseMounted(
  volume: string,
  advice: string,
): (blockers: readonly Ticket[]) => void {
  const name = lockName('mount', volume);
  return (blockers) => {
    const mount = blockers.find(
      ({ kind, locks: on }) => kind === 'mount' && on.some((lock) => lock.name === name),
    );
    if (!mount) return;
    throw new InUseError(`volume ${volume} is in use: ${heldBy(mount)}; ${advice}`, {
      cause: new LockContendedError([name], [mount]),
    });
  };
}

/** Builds the error for a request that closed gates stop. */
export function disabledBy(gates: readonly Gate[], cause?: LockDisabledError): DisabledError {
  const disabled = disabledVolumes(gates);
  const facts = disabled.map(({ volume, gate: { host, since, why } }) => {
    const reason = why === undefined ? '' : ` (${why})`;
    return `volume ${volume} is disabled by host ${host} since ${since}${reason}`;
  });
  const commands = disabled.map(({ volume }) => `berth lock enable ${volume}`);
  return new DisabledError(`${facts.join(', ')}; enable it again with: ${commands.join(', ')}`, {
    cause,
  });
}

/** Runs lock work, and translates its failures, and those of disks, into the words of volumes. */
export async function translated<T>(volume: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (isDiskProblem(error)) {
      throw new UnavailableError(`volume ${volume}: ${diskProblem(error)}`, { cause: error });
    }
    if (error instanceof VolumeError || !(error instanceof LockError)) throw error;
    if (error instanceof LockTimeoutError || error instanceof LockContendedError) {
      const waited =
        error instanceof LockTimeoutError
          ? `; gave up after ${(error.waitedMs / 1000).toFixed(0)} s`
          : '';
      const holders = error.blockers.map(heldBy).join('; ') || 'held by somebody else';
      throw new InUseError(`volume ${volume} is in use: ${holders}${waited}`, { cause: error });
    }
    if (error instanceof LockDisabledError) throw disabledBy(error.gates, error);
    if (error instanceof LockCancelledError) {
      throw new UnavailableError(`the request for volume ${volume} was cancelled`, {
        cause: error,
      });
    }
    throw new UnavailableError(`volume ${volume}: ${error.message}`, { cause: error });
  }
}

const doing: Record<string, string> = {
  create: 'being created by',
  mount: 'mounted on',
  remove: 'being removed by',
  snapshot: 'being snapshotted by',
  snapshotPrune: 'having a snapshot removed by',
  copy: 'being copied by',
  set: 'having its options changed by',
  rename: 'being renamed by',
  maintenance: 'under maintenance by',
};

function heldBy({ kind, holder, token, session }: Ticket): string {
  const detail = holder.detail === undefined ? '' : `, ${holder.detail}`;
  const end = isPermanent(session) ? ', failover=manual: until it is released or cleared' : '';
  const what = doing[kind] ?? `held (${holder.reason}) by`;
  return `${what} host ${holder.host} since ${holder.since} (token ${token}${detail}${end})`;
}
