import { discardsEnded } from '../../../linux/discards.ts';
import type { MountViewer } from '../../../linux/mount-viewers.ts';
import { namesOf, openView } from '../../../linux/mount-viewers.ts';
import { run } from '../../../linux/run.ts';
import { shutDownFileSystem } from '../../../linux/shut-down.ts';
import { InUseError } from '../../errors.ts';

/** Another mount namespace has the image mounted; its file system is not shut down. */
export class ShownElsewhereError extends InUseError {
  readonly viewers: readonly MountViewer[];
  constructor(still: string, viewers: readonly MountViewer[]) {
    super(
      `${still}: ${namesOf(viewers)} has it mounted in another mount namespace of this host; ` +
        'end that process',
    );
    this.viewers = viewers;
  }
}

/**
 * Shuts the file systems down that these viewers show. With `flush`, everything that was written is on
 * the image before; without it, cached data are lost. Returns the devices of those that could be
 * reached.
 */
export async function shutDownShown(
  viewers: readonly MountViewer[],
  { flush }: { readonly flush: boolean },
): Promise<string[]> {
  const done = new Set<string>();
  for (const viewer of viewers) {
    if (done.has(viewer.source)) continue;
    await using directory = await openView(viewer);
    if (directory === undefined) continue;
    const path = `/proc/${process.pid}/fd/${directory.fd}`;
    if (flush) {
      await run('fsfreeze', ['--freeze', path]).catch(ifNotFrozen);
      await untilDiscarded(viewer.source);
    }
    await shutDownFileSystem(path);
    done.add(viewer.source);
  }
  return [...done];
}

function ifNotFrozen(error: unknown): void {
  if (!/busy/.test(String(error))) throw error; // Busy: it was frozen before.
}

const quietMs = 500;
const discardLimitMs = 30_000;

/**
 * Waits until the kernel has discarded the blocks of deleted files. It does so after the commit that
 * frees them, also in a frozen file system, and would destroy what the next host writes there.
 */
export async function untilDiscarded(device: string): Promise<void> {
  const hasEnded = await discardsEnded(device, { quietMs, limitMs: discardLimitMs });
  if (!hasEnded) throw new InUseError(`${device} does not finish its writes`);
}
