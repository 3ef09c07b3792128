import type { OptionKinds } from '../check-options.ts';
import { checkOptions, isObject, shown } from '../check-options.ts';
import type { LockPlace } from './open-store.ts';

const placeOptions = {
  pool: 'an object',
  schema: 'a text',
  etcd: 'an object',
  prefix: 'a text',
  store: 'an object',
} as const satisfies OptionKinds<AllOptions<Exclude<LockPlace, string>>>;

/** Each client that locks can be given, with the options that go with it. */
const clients = [['pool', 'schema'], ['etcd', 'prefix'], ['store']] as const;

type AllOptions<T> = { [K in T extends unknown ? keyof T : never]: unknown };

/** Throws RangeError unless locks can be kept there: an address, or an object with one client or store. */
export function checkPlace(place: LockPlace): void {
  if (typeof place === 'string') return;
  const needed =
    'openLocks needs an address, e.g. etcd://n1:2379, or an object with a pool, an etcd or a store';
  if (!isObject(place)) throw new RangeError(`${needed}, not ${shown(place)}`);
  checkOptions('the place of locks', place, placeOptions);
  const given = clients.filter(([client]) => Reflect.get(place, client) !== undefined);
  const [client, ...others] = given;
  if (client === undefined) throw new RangeError(`${needed}, not one without them`);
  if (others.length > 0) throw new RangeError(`${needed}, not several of them`);
  const names = Object.keys(place).filter((name) => Reflect.get(place, name) !== undefined);
  const foreign = names.find((name) => !client.some((own) => own === name));
  if (foreign === undefined) return;
  throw new RangeError(`a place of locks with ${client[0]} has no option ${foreign}`);
}
