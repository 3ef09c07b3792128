import type {
  EngineCalls,
  FileSystems,
  MachineClock,
  StateFile,
  Stops,
  UserScan,
} from '../../../sentinel/ports.ts';
import type { SentinelReport, Watch, WatchChange } from '../../../sentinel/watch.ts';

/** All that a sentinel gets of its machine. */
export interface SentinelPorts {
  readonly scan: UserScan;
  readonly stops: Stops;
  readonly engine: EngineCalls;
  readonly fileSystems: FileSystems;
  readonly clock: MachineClock;
  readonly file: StateFile;
  readonly bootId: string;
}

/** The part of a sentinel that the simulation needs. */
export interface SentinelUnderTest {
  told(watch: Watch): SentinelReport;
  changed(change: WatchChange): unknown;
  /** The report of protocol 1 is enough for what is claimed of the volumes. */
  report(protocol?: number): SentinelReport;
  run(signal: AbortSignal): Promise<void>;
}

export type MakeSentinel = (ports: SentinelPorts) => SentinelUnderTest;
