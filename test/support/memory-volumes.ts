import type { Gate, Ticket } from '../../lib/lock/ticket.ts';
import type { DriverUsage } from '../../lib/volumes/drivers/driver.ts';
import { ExistsError, InUseError, NotFoundError } from '../../lib/volumes/errors.ts';
import type { LastUse } from '../../lib/volumes/last-use.ts';
import type {
  CallContext,
  CreateRequest,
  UnreadableVolume,
  VolumeService,
  VolumeView,
} from '../../lib/volumes/service.ts';
import type { Changeable, Snapshot, VolumeRecord, VolumeSource } from '../../lib/volumes/volume.ts';
import { checkVolumeName, formatSource, rulesOf } from '../../lib/volumes/volume.ts';

/** Runs before a method's work with the context of the call; makes the call fail, or wait. */
export type Fault = (context: CallContext | undefined) => void | Promise<void>;

/**
 * Volumes of one host in memory, without locks, for tests of the interfaces above them.
 * `calls` records each call that changes something; `faults` makes methods fail or wait.
 */
export class MemoryVolumes implements VolumeService {
  readonly calls: string[] = [];
  readonly faults: Partial<Record<keyof VolumeService, Fault>> = {};
  readonly tickets = new Map<string, readonly Ticket[]>();
  readonly lastUses = new Map<string, LastUse>();
  readonly gates = new Map<string, readonly Gate[]>();
  unreadableVolumes: readonly UnreadableVolume[] = [];
  readonly #records = new Map<string, VolumeRecord>();
  /** By volume: the number of Mounts of each mount ID. */
  readonly #mounts = new Map<string, Map<string, number>>();
  #clock = Date.parse('2026-01-02T03:04:05Z');

  async create({ name, options }: CreateRequest, context: CallContext): Promise<void> {
    checkVolumeName(name);
    await this.#begin('create', context, name, JSON.stringify(options));
    const record = this.#records.get(name);
    if (record && JSON.stringify(record.options) !== JSON.stringify(options)) {
      throw new ExistsError(`volume ${name} exists with other options`);
    }
    if (!record) this.#put(name, options);
  }

  async remove(name: string, context: CallContext): Promise<void> {
    await this.#begin('remove', context, name);
    this.#record(name);
    if (this.#mounts.has(name)) throw new InUseError(`volume ${name} is mounted on host n1`);
    this.#records.delete(name);
  }

  async set(
    name: string,
    options: Readonly<Record<string, string>>,
    context: CallContext,
  ): Promise<Changeable> {
    await this.#begin('set', context, name, JSON.stringify(options));
    const record = this.#record(name);
    return { ...rulesOf(record), options: {} };
  }

  async mount(name: string, mountId: string, context: CallContext): Promise<string> {
    await this.#begin('mount', context, name, mountId);
    this.#record(name);
    const ids = this.#mounts.get(name) ?? new Map<string, number>();
    ids.set(mountId, (ids.get(mountId) ?? 0) + 1);
    this.#mounts.set(name, ids);
    return `/mnt/${name}`;
  }

  async unmount(name: string, mountId: string, context: CallContext): Promise<void> {
    await this.#begin('unmount', context, name, mountId);
    const ids = this.#mounts.get(name);
    const count = (ids?.get(mountId) ?? 0) - 1;
    if (count > 0) ids?.set(mountId, count);
    else ids?.delete(mountId);
    if (ids?.size === 0) this.#mounts.delete(name);
  }

  get(name: string): VolumeView | undefined {
    void this.faults.get?.(undefined);
    const record = this.#records.get(name);
    return record && this.#view(record);
  }

  list(): readonly VolumeView[] {
    void this.faults.list?.(undefined);
    return [...this.#records.values()].map((record) => this.#view(record));
  }

  notFound(name: string): NotFoundError {
    return new NotFoundError(`no such volume: ${name}`);
  }

  unreadable(): readonly UnreadableVolume[] {
    return this.unreadableVolumes;
  }

  async resize(name: string, size: string, context: CallContext): Promise<void> {
    await this.#begin('resize', context, name, size);
    this.#record(name);
  }

  async rename(name: string, to: string, context: CallContext): Promise<void> {
    await this.#begin('rename', context, name, to);
    const record = this.#record(name);
    if (this.#records.has(to)) throw new ExistsError(`volume ${to} exists already`);
    this.#records.delete(name);
    this.#records.set(to, { ...record, name: to });
  }

  async snapshot(source: VolumeSource, context: CallContext): Promise<Snapshot> {
    await this.#begin('snapshot', context, formatSource(source));
    const record = this.#record(source.volume);
    const kind = 'moment' as const;
    const name = source.snapshot ?? `auto-${this.#clock}`;
    const snapshot = { name, createdAt: this.#now(), kind, bytes: 3 * 2 ** 20 };
    if (record.snapshots.some(({ name }) => name === snapshot.name)) {
      throw new ExistsError(`volume ${record.name} has a snapshot ${snapshot.name} already`);
    }
    record.snapshots.push(snapshot);
    return snapshot;
  }

  async removeSnapshot(source: Required<VolumeSource>, context: CallContext): Promise<void> {
    await this.#begin('removeSnapshot', context, formatSource(source));
    const record = this.#find(source);
    record.snapshots = record.snapshots.filter(({ name }) => name !== source.snapshot);
  }

  async restoreSnapshot(source: Required<VolumeSource>, context: CallContext): Promise<void> {
    await this.#begin('restoreSnapshot', context, formatSource(source));
    this.#find(source);
  }

  async copy(source: VolumeSource, target: string, context: CallContext): Promise<void> {
    await this.#begin('copy', context, formatSource(source), target);
    const { options } = this.#find(source);
    if (this.#records.has(target)) throw new ExistsError(`volume ${target} exists`);
    context.onProgress?.({ doneBytes: 512, totalBytes: 1024, doneFiles: 1, totalFiles: 2 });
    context.onProgress?.({ doneBytes: 1024, totalBytes: 1024, doneFiles: 2, totalFiles: 2 });
    this.#put(target, options, formatSource(source));
  }

  async usage(name: string): Promise<DriverUsage> {
    await this.#begin('usage', undefined, name);
    this.#record(name);
    return { usedBytes: 1024, sizeBytes: 4096 };
  }

  async #begin(
    method: keyof VolumeService,
    context: CallContext | undefined,
    ...words: string[]
  ): Promise<void> {
    this.calls.push([method, ...words].join(' '));
    await this.faults[method]?.(context);
  }

  #put(name: string, options: VolumeRecord['options'], from?: string): void {
    this.#records.set(name, {
      version: 1,
      name,
      driver: 'directory',
      options: { ...options },
      access: 'host',
      failover: 'auto',
      onLost: 'pause',
      createdAt: this.#now(),
      createdBy: 'n1',
      ...(from !== undefined && { from }),
      snapshots: [],
      token: 1,
    });
  }

  #record(name: string): VolumeRecord {
    const record = this.#records.get(name);
    if (!record) throw new NotFoundError(`no such volume: ${name}`);
    return record;
  }

  #find(source: VolumeSource): VolumeRecord {
    const record = this.#record(source.volume);
    const { snapshot } = source;
    if (snapshot !== undefined && !record.snapshots.some(({ name }) => name === snapshot)) {
      throw new NotFoundError(`volume ${record.name} has no snapshot ${snapshot}`);
    }
    return record;
  }

  #view(record: VolumeRecord): VolumeView {
    const ids = this.#mounts.get(record.name);
    return {
      record,
      fencing: { level: 'host', means: 'in memory' },
      mountTickets: this.tickets.get(record.name) ?? [],
      gates: this.gates.get(record.name) ?? [],
      lastUse: ids
        ? { is: 'now' }
        : (this.lastUses.get(record.name) ?? { is: 'never', since: record.createdAt }),
      ...(ids && { mounted: { mountpoint: `/mnt/${record.name}`, mountIds: [...ids.keys()] } }),
    };
  }

  #now(): string {
    this.#clock += 1000;
    return new Date(this.#clock).toISOString();
  }
}
