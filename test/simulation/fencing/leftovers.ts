import type { Container } from './simulated-engine.ts';
import type { SimulatedHost } from './simulated-host.ts';

/** Lists what is not as it should be on a host whose parts all work. */
export function leftoversOf(host: SimulatedHost): string[] {
  const { name, kernel, engine, sentinel, disk } = host;
  const found: string[] = [];
  for (const row of disk.rows.values()) {
    if (!row.isProved) found.push(`${row.volume} of ${name} is neither held nor lost`);
    if (row.isEvicted) found.push(`${row.volume} of ${name} was cleared and is still mounted`);
  }
  for (const volume of Object.keys(sentinel.lastReport?.volumes ?? {})) {
    const claim = sentinel.lastReport?.volumes[volume];
    if (![...disk.rows.keys()].some((each) => each === volume)) {
      found.push(`the sentinel of ${name} still watches ${volume}`);
    } else if (claim !== 'running') found.push(`${volume} of ${name} is held and ${claim}`);
  }
  for (const mount of kernel.mounts) {
    if (mount.isMounted && mount.fs !== 'open') found.push(`${mount.volume} of ${name} is frozen`);
  }
  for (const user of kernel.users.values()) {
    if (user.isTouched) found.push(`${user.key} of ${name} is still stopped by berth`);
    const isLeft = user.hasHeldGroup && !user.hasEnded && !user.isTouched;
    if (isLeft) found.push(`${user.key} of ${name} still has the group of berth`);
  }
  for (const container of engine.containers.values()) {
    found.push(...wrongWith(container).map((what) => `${container.user.key} of ${name} ${what}`));
  }
  return found;
}

function wrongWith({ user, isRunning, isPaused, isPersons }: Container): string[] {
  if (!isRunning) return user.hasEnded ? [] : ['runs, and its engine says that it does not'];
  if (user.hasEnded) return ['has ended, and its engine says that it runs'];
  const mounts = [...user.mounts];
  if (mounts.some((mount) => !mount.isMounted)) return ['runs although its volume is unmounted'];
  const found: string[] = [];
  if (user.isFrozen !== isPaused) {
    found.push(isPaused ? 'is paused in name only' : 'is frozen, and its engine does not know');
  }
  if (isPersons === true && !isPaused) found.push('runs although a person had paused it');
  if (isPersons === false && isPaused) found.push('is paused although no person asked for it');
  return found;
}
