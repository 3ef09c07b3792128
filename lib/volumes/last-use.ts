/** When a volume that is mounted nowhere was used last. */
export type LastUse =
  /** The end of its last mount (RFC 3339). */
  | { readonly is: 'ended'; readonly at: string }
  /** Nobody has mounted it since it was made. */
  | { readonly is: 'never'; readonly since: string }
  | { readonly is: 'unknown' };
