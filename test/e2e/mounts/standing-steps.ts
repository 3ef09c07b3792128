import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

const preload = join(import.meta.dirname, '../../support/standing-step.mjs');

/** The step before which work stands still, or after which the daemon ends: test/support/standing-step.mjs. */
interface Plan {
  readonly volumes: readonly string[];
  readonly before?: number;
  readonly commits?: number;
}

/** A call of the storage worker that stands still before a step. */
export interface Stand {
  /** The process ID of the worker. */
  readonly pid: number;
  readonly step: string;
}

/** The steps of a daemon and its storage worker, at which a test lets them stand still or ends them. */
export class StandingSteps {
  readonly #root: string;
  readonly #directory: string;
  #plans = 0;

  /** `root` is the directory of the host, whose name is left out where a step is shown. */
  private constructor(root: string) {
    this.#root = root;
    this.#directory = join(root, 'steps');
  }

  static async make(root: string): Promise<StandingSteps> {
    const steps = new StandingSteps(root);
    await mkdir(join(steps.#directory, 'standing'), { recursive: true });
    return steps;
  }

  /** The environment of the daemon. */
  get env(): Readonly<Record<string, string>> {
    return { STEPS: this.#directory, NODE_OPTIONS: `--import=${preload}` };
  }

  /** Begins to count the steps of these volumes, from 1. Returns the name of the plan. */
  async begin(plan: Plan): Promise<string> {
    this.#plans += 1;
    const id = String(this.#plans);
    await writeFile(join(this.#directory, 'plan'), JSON.stringify({ id, ...plan }));
    return id;
  }

  /** Lets all work that begins now, such as the daemon's own undoing, go on. */
  async end(): Promise<void> {
    await rm(join(this.#directory, 'plan'), { force: true });
  }

  /** Returns where the work on a volume stands still; undefined: it goes on, or has ended. */
  async at(volume: string, plan: string): Promise<Stand | undefined> {
    const file = join(this.#directory, 'standing', volume);
    const text = await readFile(file, 'utf8').catch(() => '');
    if (text === '') return undefined;
    const { id, pid, step } = JSON.parse(text);
    if (id !== plan) return undefined;
    const inShort = String(step)
      .replaceAll(`${this.#root}/`, '')
      .replaceAll(/\.tmp-[\w.-]+/g, '.tmp')
      .replaceAll(volume, 'NAME')
      .slice(0, 100);
    return { pid: Number(pid), step: inShort };
  }
}
