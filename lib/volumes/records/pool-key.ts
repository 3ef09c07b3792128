/** Returns the key of the record of a driver's pool (pools/pool-record.ts). */
export function poolKey(driver: string): string {
  return `pools/${driver}`;
}

/** True for the key of a pool's record. */
export function isPoolKey(key: string): boolean {
  return key.startsWith(poolKey(''));
}
