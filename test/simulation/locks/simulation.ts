import { Party, Scheduler } from '../scheduler.ts';
import type { Command, HostCommand, PutBackCommand } from './commands.ts';
import { hostCount, lockNames, mainTtlMs } from './commands.ts';
import { textOf } from './error-texts.ts';
import type { Happening, HistoryEvent } from './history.ts';
import { longestDelayMs } from './link.ts';
import { memoryWorld } from './memory-world.ts';
import type { Mark } from './recording.ts';
import { Recording } from './recording.ts';
import { SimulatedHost } from './simulated-host.ts';
import type { MakeWorld, SimulatedWorld } from './simulated-world.ts';

export interface Scenario {
  /** The seed of everything that the commands leave open: delays, losses, clocks. */
  readonly seed: number;
  readonly commands: readonly Command[];
}

/** The number of sleeps that a session needs: for its renewal and for its deadline. */
const sleepersPerSession = 2;

/** The number of sessions of a host, which may use two TTLs. */
const sessionsPerHost = 2;

/** Plays a scenario from the first command until every lock is free; returns its history. */
export function simulate(scenario: Scenario, world = memoryWorld): Promise<HistoryEvent[]> {
  return new Simulation(scenario, world).run();
}

class Simulation {
  readonly #commands: readonly Command[];
  readonly #scheduler = new Scheduler();
  readonly #recording = new Recording();
  readonly #party = new Party('store');
  readonly #world: SimulatedWorld;
  readonly #hosts: SimulatedHost[];

  constructor({ seed, commands }: Scenario, makeWorld: MakeWorld) {
    this.#commands = commands;
    const [scheduler, party, record] = [this.#scheduler, this.#party, this.#record];
    const mark = () => this.#recording.mark(scheduler.now);
    const world = makeWorld({ scheduler, party, seed, record, mark });
    this.#world = world;
    this.#hosts = Array.from({ length: hostCount }, (_, index) => {
      const name = `n${index + 1}`;
      return new SimulatedHost({ name, seed, scheduler, party, world, record });
    });
  }

  async run(): Promise<HistoryEvent[]> {
    const onRejection = (error: unknown) => {
      this.#record({ kind: 'bug', message: `unhandled rejection: ${textOf(error)}` });
    };
    process.on('unhandledRejection', onRejection);
    try {
      await this.#playCommands();
      await this.#calmDown();
      await this.#finish();
    } catch (error) {
      this.#record({ kind: 'bug', message: textOf(error) });
    } finally {
      process.off('unhandledRejection', onRejection);
    }
    return this.#recording.history();
  }

  async #playCommands(): Promise<void> {
    const world = new Party('world');
    for (const host of this.#hosts) host.start({ resume: false });
    for (const [index, command] of this.#commands.entries()) {
      this.#scheduler.after(command.atMs, world, 'timer', () => this.#play(command, `r${index}`));
    }
    const ends = this.#commands.map((command) => command.atMs + ('ms' in command ? command.ms : 0));
    await this.#scheduler.pass(Math.max(0, ...ends) + 1);
  }

  #play(command: Command, name: string): void {
    if (command.kind === 'pause store') {
      this.#pauseStore(command.ms);
      return;
    }
    if (command.kind === 'put back') {
      void this.#putBack(command);
      return;
    }
    const host = this.#hosts[command.host];
    if (host) this.#playOn(host, command, name);
  }

  async #putBack(command: PutBackCommand): Promise<void> {
    const known = this.#hosts.map(({ history }) => history);
    for (const host of this.#hosts) host.serverPutBack();
    await this.#world.putBack?.(command, known);
  }

  #pauseStore(ms: number): void {
    for (const { name: host } of this.#hosts) {
      this.#record({ kind: 'fault', host, what: 'the store is frozen' });
    }
    this.#party.state = 'paused';
    this.#later(ms, () => this.#scheduler.resume(this.#party, 'due'));
  }

  #playOn(host: SimulatedHost, command: HostCommand, name: string): void {
    switch (command.kind) {
      case 'lock':
        host.use(name, command);
        break;
      case 'pause':
        host.pause();
        this.#later(command.ms, () => host.resume());
        break;
      case 'rough':
      case 'cut':
        host.weather = command.kind;
        this.#later(command.ms, () => {
          host.weather = 'fair';
        });
        break;
      case 'deaf, then cut':
        host.weather = 'deaf';
        this.#later(command.ms / 2, () => {
          host.weather = 'cut';
        });
        this.#later(command.ms, () => {
          host.weather = 'fair';
        });
        break;
      case 'clone': {
        const clone = host.clone(command.ms);
        if (!clone) break;
        this.#hosts.push(clone);
        this.#later(command.ms, () => host.resume());
        break;
      }
      case 'break watch':
        host.breakWatch();
        break;
      case 'restart':
        host.stop();
        this.#later(command.ms, () => {
          host.crash();
          host.start({ resume: true });
        });
        break;
      case 'crash':
      case 'crash and resume': {
        host.crash();
        const resume = command.kind === 'crash and resume';
        this.#later(command.ms, () => host.start({ resume }));
        break;
      }
      case 'disable':
        host.operate((manager) => manager.disable(command.lockName));
        this.#later(command.ms, () => host.operate((manager) => manager.enable(command.lockName)));
        break;
      case 'break lock':
        host.operate(async (manager) => {
          const tickets = await manager.inspect(command.lockName);
          const ticket = tickets[command.ms % Math.max(1, tickets.length)];
          if (!ticket) return;
          this.#record({ kind: 'broken', token: this.#world.numberOf(ticket) });
          await manager.breakLock(ticket);
        });
        break;
    }
  }

  /** Ends all faults and waits until no message of theirs is under way. */
  async #calmDown(): Promise<void> {
    for (const host of this.#hosts) {
      host.resume();
      host.weather = 'fair';
      host.start({ resume: true });
    }
    this.#scheduler.resume(this.#party, 'due');
    await this.#scheduler.pass(longestDelayMs);
    const direct = this.#world.direct();
    for (const name of lockNames) await direct.openGate(name);
    this.#record({ kind: 'quiet' });
  }

  async #finish(): Promise<void> {
    const holdMs = this.#commands.map((command) => (command.kind === 'lock' ? command.holdMs : 0));
    const isDone = () => this.#hosts.every(({ open }) => open === 0);
    await this.#scheduler.pass(30_000 + holdMs.reduce((sum, ms) => sum + ms, 0), isDone);
    // After this the store has dropped the sessions of killed daemons.
    await this.#scheduler.pass(mainTtlMs + 5_000);
    const leftovers = await this.#leftovers(
      sleepersPerSession * sessionsPerHost + this.#world.sleepersPerHost,
    );
    const closed = Promise.all(this.#hosts.map((host) => host.close()));
    let isClosed = false;
    void closed.then(() => {
      isClosed = true;
    });
    await this.#scheduler.pass(5_000);
    if (!isClosed) leftovers.push('a manager that does not close');
    this.#world[Symbol.dispose]();
    await this.#scheduler.pass(1);
    leftovers.push(...(await this.#leftovers(0)));
    if (this.#world.sleeping > 0) leftovers.push('a watch of the store');
    this.#record({ kind: 'ended', leftovers });
  }

  /** Lists what should not exist once nobody wants a lock. */
  async #leftovers(sleepersPerHost: number): Promise<string[]> {
    const leftovers: string[] = [];
    for (const { name, open, daemon } of this.#hosts) {
      if (open > 0) leftovers.push(`${open} calls on ${name} that do not end`);
      const sleeping = daemon?.clock.sleeping ?? 0;
      if (sleeping > sleepersPerHost) leftovers.push(`${sleeping} sleepers on ${name}`);
    }
    for (const { token, holder } of await this.#world.direct().tickets()) {
      leftovers.push(`ticket ${token} of ${holder.detail}`);
    }
    return leftovers;
  }

  #later(ms: number, run: () => void): void {
    this.#scheduler.after(ms, new Party('world'), 'timer', run);
  }

  readonly #record = (happening: Happening, mark?: Mark) => {
    this.#recording.record(this.#scheduler.now, happening, mark);
    if (happening.kind !== 'answered' || happening.answer !== 'granted') return;
    for (const host of this.#hosts) host.check();
  };
}
