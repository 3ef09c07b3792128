import { StoreUnavailableError } from '../../../lib/lock/errors.ts';
import type {
  Api,
  ApiObject,
  Call,
  Method,
  WatchEvent,
} from '../../../lib/lock/stores/kubernetes/api.ts';
import type { ConnectionParts, WorldParts } from '../locks/simulated-world.ts';
import { ApiWatch } from './api-watch.ts';
import type { SimulatedApiServer } from './simulated-api-server.ts';
import { WriteMarks } from './write-marks.ts';

export interface SimulatedApiOptions
  extends Pick<WorldParts, 'scheduler' | 'mark'>,
    Pick<ConnectionParts, 'life' | 'party' | 'link' | 'random'> {
  /** The process of the API server. */
  readonly serverParty: WorldParts['party'];
  readonly server: SimulatedApiServer;
  /** The path of the object with the locks. */
  readonly path: string;
  /** Returns the marks of the write that has made a version of that object. */
  readonly marksOf: (resourceVersion: string) => WriteMarks | undefined;
}

/** One client's way to the API server, through a simulated network. */
export class SimulatedApi implements Api {
  readonly #options: SimulatedApiOptions;
  /** The latest version of the object with the locks that this client has seen. */
  #known = 0;
  #lastStep: WriteMarks | undefined;
  #isDisposed = false;

  constructor(options: SimulatedApiOptions) {
    this.#options = options;
  }

  /** The step of the API server on which the answer rests that the store has just given. */
  get lastStep(): WriteMarks | undefined {
    return this.#lastStep;
  }

  async call<T>(method: Method, path: string, call?: Call): Promise<T> {
    const { link, server, life, mark, path: locks } = this.#options;
    if (this.#isDisposed) throw new StoreUnavailableError('the client of the API server is closed');
    const kind = path.includes('/leases') ? 'Lease' : 'ConfigMap';
    const { answer, step } = await link.call(
      `${method} ${kind}`,
      async () => ({ answer: server.call(life, method, path, call), step: new WriteMarks(mark) }),
      (why) => new StoreUnavailableError(`the API server does not answer: ${why}`),
    );
    if (path === locks) this.#heard(method, answer as ApiObject, step);
    return answer as T;
  }

  watch(path: string, onEvent: (event: WatchEvent) => void, signal: AbortSignal): Promise<void> {
    const { marksOf } = this.#options;
    const watch = new ApiWatch({
      ...this.#options,
      path,
      signal,
      onEvent: (event) => {
        const version = Number(event.object.metadata?.resourceVersion ?? 0);
        if (version > this.#known) {
          this.#known = version;
          this.#lastStep = marksOf(`${version}`);
        }
        onEvent(event);
      },
    });
    return watch.ended;
  }

  [Symbol.dispose](): void {
    this.#isDisposed = true;
  }

  /** The store answers from the version that it has written, or from the latest that it knows. */
  #heard(method: Method, { metadata }: ApiObject, step: WriteMarks): void {
    const { marksOf } = this.#options;
    const version = Number(metadata.resourceVersion);
    if (method === 'PATCH') this.#lastStep = marksOf(metadata.resourceVersion);
    else this.#lastStep = version >= this.#known ? step : marksOf(`${this.#known}`);
    this.#known = Math.max(this.#known, version);
  }
}
