import type { VolumeDriver } from '../drivers/driver.ts';
import type { PutAside } from '../drivers/takeover.ts';
import { amountWritten } from '../operations/takeovers.ts';
import type { UncleanEnds } from '../operations/unclean-ends.ts';
import { goneCommand } from '../operations/unclean-ends.ts';
import type { Pools } from '../pools/pools.ts';
import type { Catalog } from '../records/catalog.ts';
import type { Claim } from '../records/claims.ts';
import type { VolumeRecord } from '../volume.ts';
import type { Finding, Outcome, Treatment } from './finding.ts';
import { found, mended } from './finding.ts';
import { orSilent } from './silent.ts';

export interface UncleanEndDoctorOptions {
  readonly catalog: Pick<Catalog, 'list'>;
  readonly drivers: ReadonlyMap<string, VolumeDriver>;
  readonly pools: Pick<Pools, 'trouble'>;
  readonly uncleanEnds: Pick<UncleanEnds, 'list' | 'claimsOn'>;
}

/**
 * Finds Mounts that another host has not ended, and the files that takeovers have kept aside: who may
 * still write to them, and what was written.
 */
export class UncleanEndDoctor {
  readonly #options: UncleanEndDoctorOptions;

  constructor(options: UncleanEndDoctorOptions) {
    this.#options = options;
  }

  async examine(treatment: Treatment): Promise<Outcome[]> {
    const { catalog, uncleanEnds } = this.#options;
    const claims = Map.groupBy(uncleanEnds.list(), ({ volume }) => volume);
    const outcomes: Outcome[] = [];
    for (const record of catalog.list()) {
      const unclean = claims.get(record.name) ?? [];
      const named = new Set<string>();
      const look = () => this.#asides(record, treatment, (mark) => named.add(mark));
      const asides = await orSilent(record.name, look);
      const others = unclean.filter(({ mark }) => !named.has(mark)).map(uncleanEnd);
      outcomes.push(...others.map(found), ...asides);
    }
    return outcomes;
  }

  /** Looks for files, then for claims, and then at what was written, as `Takeovers.settle` does. */
  async #asides(
    record: VolumeRecord,
    { fix, signal }: Treatment,
    onMark: (mark: string) => void,
  ): Promise<Outcome[]> {
    const driver = this.#options.drivers.get(record.driver);
    if (!driver?.takeover || (await this.#options.pools.trouble(driver))) return [];
    const { takeover } = driver;
    const files = new Set((await takeover.putAside(record)).map(({ mark }) => mark));
    if (files.size === 0) return [];
    const claims = await this.#options.uncleanEnds.claimsOn(record.name);
    const asides = await takeover.putAside(record);
    const outcomes: Outcome[] = [];
    for (const aside of asides.filter(({ mark }) => files.has(mark))) {
      const claim = claims.find(({ mark }) => mark === aside.mark);
      const finding = putAside(record.name, aside, claim);
      const discard = () => takeover.discard(record, aside.mark, { signal });
      const isFixed = fix && finding.fix !== undefined;
      outcomes.push(isFixed ? await mended(finding, discard) : found(finding));
      onMark(aside.mark);
    }
    return outcomes;
  }
}

function uncleanEnd(claim: Claim): Finding {
  const { volume, host, since, takenOver, unreadable } = claim;
  if (unreadable) {
    return {
      kind: 'unclean-end',
      what: volume,
      message: `was mounted by a host that did not unmount it and is not known here: ${unreadable.message}`,
      next: [`if that host is gone for good: ${goneCommand(claim)} --force`],
    };
  }
  const end =
    takenOver === undefined
      ? 'and may still write to it'
      : `and was kept from it by host ${takenOver.by}`;
  return {
    kind: 'unclean-end',
    what: volume,
    message: `was mounted by host ${host}, which did not unmount it, ${end}`,
    since,
    next: untilItIsBack(claim),
  };
}

function putAside(volume: string, aside: PutAside, claim: Claim | undefined): Finding {
  const { path, host, since, bytes, writtenAt } = aside;
  const size = `${Math.ceil(bytes / 2 ** 20)} MiB`;
  const amount = amountWritten(aside);
  const base = { kind: 'put-aside', what: path, since } as const;
  const written =
    writtenAt === undefined ? 'wrote nothing there' : `wrote ${amount}there until ${writtenAt}`;
  if (claim) {
    return {
      ...base,
      message: `(${size}) is kept for host ${host}, from which volume ${volume} was taken over; that host ${written}, and may still write there`,
      next: untilItIsBack(claim),
    };
  }
  if (writtenAt === undefined) {
    return {
      ...base,
      message: `(${size}) was kept for host ${host}, which ${written} and has ended its Mount of volume ${volume}`,
      fix: 'removes it',
      next: [],
    };
  }
  return {
    ...base,
    message: `(${size}) has what host ${host} wrote to volume ${volume} after the takeover, ${amount}until ${writtenAt}; none of it is in the volume`,
    next: [`look at it: mount -o ro,loop ${path} /mnt`, `delete it: rm ${path}`],
  };
}

function untilItIsBack(claim: Claim): string[] {
  const { host } = claim;
  return [
    `start berth on host ${host}, which ends its Mount by itself`,
    `if that host is gone for good: ${goneCommand(claim)}`,
  ];
}
