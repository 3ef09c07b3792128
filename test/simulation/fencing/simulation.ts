import { Party, Scheduler } from '../scheduler.ts';
import type { Command, FaultCommand, Scenario } from './commands.ts';
import { hostNames } from './commands.ts';
import type { Happening, HistoryEvent } from './history.ts';
import { leftoversOf } from './leftovers.ts';
import type { MakeSentinel } from './sentinel-under-test.ts';
import { SimulatedHost } from './simulated-host.ts';
import { SimulatedStore } from './simulated-store.ts';

/** Longest time until everything is as it should be again. */
const calmMs = 60_000;

/** Plays a scenario, then ends all faults and waits until all is well; returns its history. */
export function simulate(scenario: Scenario, make: MakeSentinel): Promise<HistoryEvent[]> {
  return new Simulation(scenario, make).run();
}

class Simulation {
  readonly #scenario: Scenario;
  readonly #scheduler = new Scheduler();
  readonly #history: HistoryEvent[] = [];
  readonly #world = new Party('world');
  readonly #hosts: readonly SimulatedHost[];

  constructor(scenario: Scenario, make: MakeSentinel) {
    this.#scenario = scenario;
    const { seed, ttlMs, fenceHostProcesses } = scenario;
    const scheduler = this.#scheduler;
    const record = this.#record;
    const store = new SimulatedStore({ ttlMs, scheduler, record });
    this.#hosts = hostNames.map(
      (name) =>
        new SimulatedHost({ name, seed, scheduler, store, record, make, fenceHostProcesses }),
    );
  }

  async run(): Promise<HistoryEvent[]> {
    const onRejection = (error: unknown) => {
      const message = Error.isError(error) ? (error.stack ?? error.message) : String(error);
      this.#record({ kind: 'bug', message: `unhandled rejection: ${message}` });
    };
    process.on('unhandledRejection', onRejection);
    try {
      const { commands } = this.#scenario;
      for (const command of commands) this.#later(command.atMs, () => this.#play(command));
      const ends = commands.map((command) => command.atMs + ('ms' in command ? command.ms : 0));
      await this.#scheduler.pass(Math.max(0, ...ends) + 1);
      await this.#calmDown();
    } finally {
      process.off('unhandledRejection', onRejection);
    }
    return this.#history;
  }

  #play(command: Command): void {
    const host = this.#hosts[command.host];
    if (!host) return;
    switch (command.kind) {
      case 'run':
        host.run(command);
        break;
      case 'use':
        host.use(command);
        break;
      case 'person':
        host.command(command);
        break;
      case 'evict':
        if (host.daemon?.party.state === 'running') host.daemon.evict(command.volume);
        break;
      case 'copy':
        if (host.daemon?.party.state === 'running') void host.daemon.copy(command);
        break;
      case 'kill sentinel':
        host.killSentinel(command);
        break;
      case 'set time of day':
        host.pauses.setTimeOfDay(command.byMs);
        break;
      case 'pause machine':
        host.pauses.pause();
        this.#later(command.ms, () => host.pauses.resume(command.sight));
        break;
      case 'sleep':
        host.sleep(command.volume, command.ms);
        break;
      case 'slow disk':
        host.pauses.slowDown(command.volume, command.ms);
        this.#later(command.ms, () => host.pauses.slowDown(command.volume, undefined));
        break;
      case 'hung storage':
        host.fault(`the storage of ${command.volume} hangs`);
        host.kernel.setHung(command.volume, true);
        this.#later(command.ms, () => host.kernel.setHung(command.volume, false));
        break;
      default:
        this.#break(host, command);
        break;
    }
  }

  #break(host: SimulatedHost, { kind, ms }: FaultCommand): void {
    const { machine, sentinel, engine } = host;
    const { daemon } = host;
    if (kind !== 'freeze sentinel' && kind !== 'kill daemon' && kind !== 'lose table') {
      host.fault(kind);
    }
    switch (kind) {
      case 'cut off':
        host.isConnected = false;
        this.#later(ms, () => {
          host.isConnected = true;
        });
        break;
      case 'freeze daemon':
        if (!daemon) break;
        machine.freeze(daemon.party, 'signal');
        this.#later(ms, () => machine.thaw(daemon.party, 'signal'));
        break;
      case 'kill daemon':
        host.killDaemon('the daemon is killed');
        this.#later(ms, () => host.startDaemon({ isForgetful: false }));
        break;
      case 'lose table':
        host.loseTable();
        this.#later(ms, () => host.startDaemon({ isForgetful: true }));
        break;
      case 'freeze sentinel':
        sentinel.freeze();
        this.#later(ms, () => sentinel.thaw());
        break;
      case 'hang engine':
        machine.freeze(engine.party, 'signal');
        this.#later(ms, () => machine.thaw(engine.party, 'signal'));
        break;
      case 'slow scan':
        sentinel.extraScanMs = Math.min(400, ms / 10);
        this.#later(ms, () => {
          sentinel.extraScanMs = 0;
        });
        break;
      case 'crowd':
        host.crowd(true);
        this.#later(ms, () => host.crowd(false));
        break;
      case 'blind scan':
        host.blind(true);
        this.#later(ms, () => host.blind(false));
        break;
    }
  }

  /** Ends all faults, and waits until everything is as it should be. */
  async #calmDown(): Promise<void> {
    for (const host of this.#hosts) {
      const { machine, engine, sentinel, kernel } = host;
      host.pauses.resume('counted');
      host.isConnected = true;
      machine.thaw(engine.party, 'signal');
      sentinel.thaw();
      host.blind(false);
      host.crowd(false);
      for (const volume of [...kernel.hung]) kernel.setHung(volume, false);
      for (const mount of kernel.mounts) mount.slowMs = undefined;
      // Its successor takes over what the kernel has mounted.
      host.killDaemon('the daemon is restarted');
      host.startDaemon({ isForgetful: false });
    }
    this.#record({ kind: 'calm' });
    const leftovers = () => this.#hosts.flatMap((host) => leftoversOf(host));
    await this.#scheduler.pass(2_000);
    await this.#scheduler.pass(calmMs, () => this.#isDue() && leftovers().length === 0);
    this.#record({ kind: 'finished', leftovers: leftovers() });
  }

  #lookedAt = 0;

  /** Looks now and then, not after each event. */
  #isDue(): boolean {
    const { now } = this.#scheduler;
    if (now - this.#lookedAt < 250) return false;
    this.#lookedAt = now;
    return true;
  }

  #later(ms: number, run: () => void): void {
    this.#scheduler.after(ms, this.#world, 'timer', run);
  }

  readonly #record = (happening: Happening) => {
    this.#history.push({ at: this.#scheduler.now, ...happening });
  };
}
