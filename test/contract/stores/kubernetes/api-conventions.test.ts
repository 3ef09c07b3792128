// What the store expects of an API server, asked of a real one, and of the one of the simulation.
import { afterAll, beforeAll } from '@jest/globals';
import { ApiServer } from '../../../../lib/lock/stores/kubernetes/api-server.ts';
import { directApi } from '../../../simulation/kubernetes/direct-api.ts';
import { SimulatedApiServer } from '../../../simulation/kubernetes/simulated-api-server.ts';
import type { Kubernetes } from '../../../support/kubernetes.ts';
import { startKubernetes } from '../../../support/kubernetes.ts';
import { describeWith } from '../../../support/requirements.ts';
import { apiConventions } from './api-conventions.ts';

const simulated = new SimulatedApiServer(() => {});
apiConventions('the simulated API server', () => directApi(simulated, 'a client'));

describeWith(['etcd', 'kubernetes'], 'on Kubernetes', () => {
  let kubernetes: Kubernetes;

  beforeAll(async () => {
    kubernetes = await startKubernetes();
  });
  afterAll(async () => kubernetes[Symbol.asyncDispose]());

  apiConventions('a real API server', () => new ApiServer(kubernetes.admin));
});
