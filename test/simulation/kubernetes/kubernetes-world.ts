import { storeOn } from '../../../lib/lock/stores/kubernetes/object-store.ts';
import { configMapPlace } from '../../../lib/lock/stores/kubernetes/place.ts';
import type { Surroundings } from '../../../lib/lock/stores/kubernetes/surroundings.ts';
import type { MakeWorld } from '../locks/simulated-world.ts';
import { AskedRemovals } from './asked-removals.ts';
import { directApi } from './direct-api.ts';
import { recordedClient } from './recorded-client.ts';
import { RecordedWrites } from './recorded-writes.ts';
import { SimulatedApi } from './simulated-api.ts';
import { SimulatedApiServer } from './simulated-api-server.ts';

const namespace = 'default';
const name = 'locks';

/** The Kubernetes store, once for each daemon, on one simulated API server. */
export const kubernetesWorld: MakeWorld = ({ scheduler, party: serverParty, record, mark }) => {
  const place = configMapPlace(namespace, name);
  const asked = new AskedRemovals();
  const writes = new RecordedWrites({ record, mark, scheduler, place, asked });
  const server = new SimulatedApiServer((write) => writes.wrote(write));
  const api = directApi(server, 'an operator.1');
  const direct = storeOn({ api, place, namespace, name, surroundings: noWaits });
  return {
    // The look at the sessions of others, and the limit of the watch or the pause before the next one.
    sleepersPerHost: 2,
    sleeping: 0,
    connect: (parts) => {
      const { host, life, clock, random } = parts;
      const api = new SimulatedApi({
        ...{ scheduler, mark, serverParty, server, path: place.path },
        ...parts,
        marksOf: (version) => writes.marksOf(version),
      });
      let ids = 0;
      const sleep: Surroundings['sleep'] = (ms, signal) => clock.sleep(ms, signal);
      const surroundings: Surroundings = {
        now: () => clock.now(),
        sleep,
        idle: sleep,
        random: random('turns'),
        newId: () => `${life}-${++ids}`,
      };
      const store = storeOn({ api, place, namespace, name, surroundings });
      return recordedClient(store, { host, record, asked, lastStep: () => api.lastStep });
    },
    direct: () => direct,
    numberOf: ({ token }) => token,
    [Symbol.dispose]: () => {},
  };
};

/** The operator's steps meet no other client between a read and a write, so they never wait. */
const noWaits: Surroundings = {
  now: () => 0,
  sleep: async () => {},
  idle: async () => {},
  random: () => 0,
  newId: () => 'operator',
};
