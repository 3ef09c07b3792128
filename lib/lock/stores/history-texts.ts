/** Says why nobody is granted a lock, to those who ask and as a condition. */
export function quarantineText(why: string, ttlMs: number): string {
  const seconds = Math.ceil(ttlMs / 1000);
  return `the store has another history (${why}): nobody is granted a lock for ${seconds} s, in which the hosts that hold locks prove them; it goes on by itself`;
}

/** Reminds of a change of history after its quarantine. */
export function afterwardsText(why: string, since: string): string {
  return `the store has had another history since ${since} (${why}): what was created or changed after the backup may be missing from the records; compare with "berth doctor", and see docs/store-history.md`;
}
