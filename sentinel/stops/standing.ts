import type { ControlGroup } from '../../lib/linux/control-group.ts';
import {
  childrenOf,
  freezeOf,
  isPopulated,
  ownProcesses,
  processesOf,
} from '../../lib/linux/control-group.ts';
import type { Standing } from '../ports.ts';
import { areInFreezer, sleepersAmong } from './sleepers.ts';

/** Processes of a container that freeze together. */
interface Part {
  readonly is: 'thawed' | 'freezing' | 'frozen';
  /** The container's engine thaws its own group, and with it what has no request of its own. */
  readonly isInReach: boolean;
  pids(): readonly number[];
}

/** Tells how a container stands, by its control group and those inside it. */
export async function standingOf(group: ControlGroup): Promise<Standing> {
  const parts = group.version === 1 ? partsOfV1(group) : partsOfV2(group, requestOf(group));
  if (parts.length === 0) return { is: 'ended' };
  if (parts.some(({ is }) => is === 'thawed')) return { is: 'running' };
  const late = parts.filter(({ is }) => is === 'freezing');
  if (late.length > 0) return freezing(late.flatMap((part) => part.pids()));
  return { is: parts.some(({ isInReach }) => isInReach) ? 'frozen' : 'held' };
}

/** Returns `freezing` with the names of those of these processes that can't freeze yet. */
export async function freezing(pids: readonly number[]): Promise<Standing> {
  return { is: 'freezing', sleepers: await sleepersAmong(pids) };
}

/** In version 1 the state of a group counts the groups inside it: the outermost ones suffice. */
function partsOfV1(group: ControlGroup): Part[] {
  const outer = freezeOf(group);
  if (outer === undefined) return [];
  const pids = ownProcesses(group);
  const own: Part[] = pids.length > 0 ? [{ is: outer.is, isInReach: true, pids: () => pids }] : [];
  const inner = childrenOf(group).flatMap((child): Part[] => {
    const freeze = isPopulated(child) ? freezeOf(child) : undefined;
    if (!freeze) return [];
    return [{ is: freeze.is, isInReach: !freeze.isRequested, pids: () => processesOf(child) }];
  });
  return [...own, ...inner];
}

/** Which request to freeze applies to a group: its own, or one around it. */
type Request = 'none' | 'of the container' | 'of an inner group';

/**
 * In version 2 the kernel's report of a group is exact only if there is no group inside it: it turns
 * to frozen when the last process of its own has frozen, and also when the last group inside has,
 * which an empty one does at once. So each group is a part by itself. The processes of one with
 * groups inside are looked at one by one; where those are empty only to confirm the report, because
 * there may be thousands.
 */
function partsOfV2(group: ControlGroup, request: Request): Part[] {
  const inner = childrenOf(group)
    .filter(isPopulated)
    .flatMap((child) => {
      const isRequested = freezeOf(child)?.isRequested === true;
      return partsOfV2(child, isRequested ? 'of an inner group' : request);
    });
  return [...ownPartsV2(group, request, inner.length > 0), ...inner];
}

function requestOf(group: ControlGroup): Request {
  return freezeOf(group)?.isRequested === true ? 'of the container' : 'none';
}

function ownPartsV2(group: ControlGroup, request: Request, isMixed: boolean): Part[] {
  const pids = ownProcesses(group);
  if (pids.length === 0) return [];
  const isInReach = request !== 'of an inner group';
  // Without a request the report may be an old one.
  if (request === 'none') return [{ is: 'thawed', isInReach, pids: () => pids }];
  const isExact = !isMixed && childrenOf(group).length === 0;
  const isReported = isMixed || freezeOf(group)?.is === 'frozen';
  const isFrozen = isReported && (isExact || areInFreezer(pids));
  return [{ is: isFrozen ? 'frozen' : 'freezing', isInReach, pids: () => pids }];
}
