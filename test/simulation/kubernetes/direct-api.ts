import type { Api } from '../../../lib/lock/stores/kubernetes/api.ts';
import type { SimulatedApiServer } from './simulated-api-server.ts';

/** Returns a way to a simulated API server without a network between. */
export function directApi(server: SimulatedApiServer, writer: string): Api {
  return {
    call: async <T>(...call: Parameters<Api['call']>) => server.call(writer, ...call) as T,
    watch: async (path, onEvent, signal) => {
      using _ = server.follow(path, onEvent);
      const ended = Promise.withResolvers<void>();
      signal.addEventListener('abort', () => ended.resolve(), { once: true });
      if (!signal.aborted) await ended.promise;
    },
    [Symbol.dispose]: () => {},
  };
}
