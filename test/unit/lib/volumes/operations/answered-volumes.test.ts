import { setImmediate as settled } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { answeredVolumes } from '../../../../../lib/volumes/operations/answered-volumes.ts';
import type { CallContext, VolumeService } from '../../../../../lib/volumes/service.ts';
import type { Silence, Silences } from '../../../../../lib/volumes/silence.ts';
import { StorageSilentError } from '../../../../../lib/volumes/silence.ts';

const never = { signal: new AbortController().signal };

/** Silences that the test begins and ends. */
class TestSilences implements Silences {
  readonly #listeners = new Map<string, Set<(silence: Silence) => void>>();
  #silences: Silence[] = [];

  begin(volume: string, isRead = false): void {
    const silence = { volume, work: 'mount', isRead, since: new Date() };
    this.#silences.push(silence);
    for (const heard of this.#listeners.get(volume) ?? []) heard(silence);
  }
  end(): void {
    this.#silences = [];
  }
  all() {
    return this.#silences;
  }
  of(volume: string) {
    return this.#silences.find((silence) => silence.volume === volume);
  }
  onSilence(volume: string, heard: (silence: Silence) => void) {
    const listeners = this.#listeners.get(volume) ?? new Set();
    this.#listeners.set(volume, listeners.add(heard));
    return { [Symbol.dispose]: () => void listeners.delete(heard) };
  }
  get listening() {
    return [...this.#listeners.values()].reduce((sum, { size }) => sum + size, 0);
  }
}

/** A service whose Mount of `db` ends when the test says so; its other volumes answer at once. */
function makeBench() {
  const silences = new TestSilences();
  const unmounted: string[] = [];
  const mounting = Promise.withResolvers<string>();
  let context: CallContext | undefined;
  const isMounted = { web: false };
  const service: Partial<VolumeService> = {
    mount: async (name, _id, its) => {
      context = its;
      return name === 'db' ? mounting.promise : `/mounts/${name}`;
    },
    unmount: async (name, id) => void unmounted.push(`${name} ${id}`),
    get: (name): ReturnType<VolumeService['get']> => {
      const mountIds = name === 'web' && isMounted.web ? ['a'] : [];
      return { mounted: { mountpoint: '', mountIds } } as unknown as ReturnType<
        VolumeService['get']
      >;
    },
  };
  const volumes = answeredVolumes(service as VolumeService, silences);
  return { volumes, silences, unmounted, mounting, isMounted, signal: () => context?.signal };
}

test('the caller is answered when the storage does not answer, and the operation is aborted', async () => {
  const { volumes, silences, mounting, unmounted, signal } = makeBench();
  const mount = volumes.mount('db', 'a', never);
  await settled();
  expect(signal()?.aborted).toBe(false);
  silences.begin('other');
  await settled();
  expect(signal()?.aborted).toBe(false);
  silences.begin('db');
  await expect(mount).rejects.toThrow(StorageSilentError);
  expect(signal()?.reason).toBeInstanceOf(StorageSilentError);
  expect(silences.listening).toBe(0);
  mounting.reject(new Error('undone'));
  await settled();
  expect(unmounted).toEqual([]);
});

test('a Mount that succeeds after its caller was answered is taken back', async () => {
  const { volumes, silences, mounting, unmounted } = makeBench();
  const mount = volumes.mount('db', 'a', never);
  await settled();
  silences.begin('db');
  await expect(mount).rejects.toThrow('does not answer');
  mounting.resolve('/mounts/db');
  await settled();
  expect(unmounted).toEqual(['db a']);
});

test('further calls on silent storage fail at once, and succeed when it answers', async () => {
  const { volumes, silences } = makeBench();
  silences.begin('web');
  await expect(volumes.mount('web', 'a', never)).rejects.toThrow('does not answer since');
  await expect(volumes.mount('other', 'a', never)).resolves.toBe('/mounts/other');
  silences.end();
  await expect(volumes.mount('web', 'a', never)).resolves.toBe('/mounts/web');
});

test('a further Mount of a mounted volume needs no storage, unless a silent change is in its way', async () => {
  const { volumes, silences, isMounted } = makeBench();
  isMounted.web = true;
  silences.begin('web', true);
  await expect(volumes.mount('web', 'b', never)).resolves.toBe('/mounts/web');
  silences.begin('web');
  await expect(volumes.mount('web', 'b', never)).rejects.toThrow('does not answer');
});
