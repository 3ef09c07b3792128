import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { Api, ApiObject } from '../../../../lib/lock/stores/kubernetes/api.ts';
import { ApiFailure } from '../../../../lib/lock/stores/kubernetes/api-errors.ts';
import { eventually } from '../../../support/eventually.ts';

const maps = '/api/v1/namespaces/default/configmaps';
const leases = '/apis/coordination.k8s.io/v1/namespaces/default/leases';

let names = 0;

/** The part of the API conventions on which the store relies; of a real API server, and of the simulated one. */
export function apiConventions(kind: string, connect: () => Api): void {
  describe(`the conventions of ${kind}`, () => {
    let api: Api;
    let name: string;

    beforeEach(() => {
      api = connect();
      names += 1;
      name = `conventions-${names}`;
    });
    afterEach(() => api[Symbol.dispose]());

    const make = () =>
      api.call<ApiObject>('POST', maps, {
        body: { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name }, data: { state: 'first' } },
      });
    const write = (state: string, resourceVersion?: string) => {
      const metadata = resourceVersion === undefined ? {} : { metadata: { resourceVersion } };
      const body = { ...metadata, data: { state } };
      return api.call<ApiObject>('PATCH', `${maps}/${name}`, { patch: 'merge', body });
    };
    const makeLease = () =>
      api.call<ApiObject>('POST', leases, {
        body: {
          apiVersion: 'coordination.k8s.io/v1',
          kind: 'Lease',
          metadata: { name, labels: { 'berth.io/store': name } },
          spec: { holderIdentity: 'a', leaseDurationSeconds: 3 },
        },
      });
    const operate = (...body: object[]) =>
      api.call<ApiObject>('PATCH', `${leases}/${name}`, { patch: 'json', body });
    const holder = (op: string, value: string) => ({ op, path: '/spec/holderIdentity', value });

    test('an object that exists is not made again', async () => {
      await make();
      await expect(make()).rejects.toMatchObject(failure(409));
    });

    test('a missing object is not found, and not changed', async () => {
      const path = `${maps}/${name}`;
      await expect(api.call('GET', path)).rejects.toMatchObject(failure(404));
      await expect(write('x', '1')).rejects.toMatchObject(failure(404));
      await expect(api.call('DELETE', path)).rejects.toMatchObject(failure(404));
    });

    test('a merge patch replaces only the version that it names', async () => {
      const first = versionOf(await make());
      const second = versionOf(await write('second', `${first}`));
      expect(second).toBeGreaterThan(first);
      await expect(write('third', `${first}`)).rejects.toMatchObject(failure(409));
      expect(await api.call('GET', `${maps}/${name}`)).toMatchObject({ data: { state: 'second' } });
    });

    test('a patch that changes nothing makes no version', async () => {
      const first = versionOf(await make());
      expect(versionOf(await write('first', `${first}`))).toBe(first);
    });

    test('a JSON patch changes nothing if its test fails', async () => {
      const first = versionOf(await makeLease());
      const refused = operate(holder('test', 'b'), holder('replace', 'c'));
      await expect(refused).rejects.toMatchObject(failure(422));
      const second = await operate(holder('test', 'a'), holder('replace', 'b'));
      expect(second).toMatchObject({ spec: { holderIdentity: 'b' } });
      expect(versionOf(second)).toBeGreaterThan(first);
    });

    test('a list has the objects with the label', async () => {
      await makeLease();
      const list = (label: string) =>
        api.call<{ items: ApiObject[] }>(
          'GET',
          `${leases}?labelSelector=berth.io/store%3D${label}`,
        );
      const [found, others] = [await list(name), await list('another')];
      expect(found.items.map(({ metadata }) => metadata.name)).toEqual([name]);
      expect(others.items).toEqual([]);
    });

    test('a DELETE with a version deletes only that one', async () => {
      const { uid, resourceVersion } = (await makeLease()).metadata;
      const changed = await operate(holder('replace', 'b'));
      const remove = (version: string) => {
        const preconditions = { uid, resourceVersion: version };
        const body = { apiVersion: 'v1', kind: 'DeleteOptions', preconditions };
        return api.call('DELETE', `${leases}/${name}`, { body });
      };
      await expect(remove(resourceVersion)).rejects.toMatchObject(failure(409));
      await remove(changed.metadata.resourceVersion);
      await expect(api.call('GET', `${leases}/${name}`)).rejects.toMatchObject(failure(404));
    });

    test('a watch gives what happened to its object after a version, in order', async () => {
      const first = versionOf(await make());
      await write('second');
      const query = `watch=true&fieldSelector=metadata.name%3D${name}&resourceVersion=${first}`;
      const seen: unknown[] = [];
      const ending = new AbortController();
      const watching = api.watch(
        `${maps}?${query}&timeoutSeconds=30`,
        ({ type, object }) => seen.push([type, (object as { data?: object }).data]),
        ending.signal,
      );
      const ended = watching.catch((error: unknown) => expect(error).toBeInstanceOf(Error));
      await write('third');
      await api.call('DELETE', `${maps}/${name}`);
      await eventually(() => expect(seen).toHaveLength(3));
      expect(seen).toEqual([
        ['MODIFIED', { state: 'second' }],
        ['MODIFIED', { state: 'third' }],
        ['DELETED', { state: 'third' }],
      ]);
      ending.abort();
      await ended;
    });
  });
}

function versionOf({ metadata }: ApiObject): number {
  return Number(metadata.resourceVersion);
}

function failure(status: number): object {
  return { constructor: ApiFailure, status };
}
