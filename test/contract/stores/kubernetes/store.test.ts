// The store contract on Kubernetes: a real API server on a real etcd, real time.
import { afterAll, beforeAll } from '@jest/globals';
import type { Kubernetes } from '../../../support/kubernetes.ts';
import { startKubernetes } from '../../../support/kubernetes.ts';
import { describeWith } from '../../../support/requirements.ts';
import { kubernetesFixture } from '../../bench/kubernetes-fixture.ts';
import { ticketStoreContract } from '../../store/ticket-store.ts';

describeWith(['etcd', 'kubernetes'], 'on Kubernetes', () => {
  let kubernetes: Kubernetes;

  beforeAll(async () => {
    kubernetes = await startKubernetes();
  });
  afterAll(async () => kubernetes[Symbol.asyncDispose]());

  ticketStoreContract('kubernetes', () => kubernetesFixture(kubernetes));
});
