import { z } from 'zod';

/**
 * Docker's volume plugin protocol, version 1.2, with its capitalised names. Unknown fields are
 * ignored, as the engine's own decoder does.
 */

export const contentType = 'application/vnd.docker.plugins.v1.2+json';

export const nameRequest = z.object({ Name: z.string() });

export const createRequest = z.object({
  Name: z.string(),
  /** Null when no option was given. */
  Opts: z.record(z.string(), z.string()).nullish(),
});

/** The ID names a user of the volume: a container, most often. It is not unique per call. */
export const mountRequest = z.object({ Name: z.string(), ID: z.string().min(1, 'is empty') });

/** Ours, for scripts that can reach only this socket. */
export const snapshotRequest = z.object({ Name: z.string(), Snapshot: z.string() });

/** Ours. Without a snapshot (or with an empty one) the volume is copied as it is. */
export const copyRequest = z.object({
  Name: z.string(),
  Snapshot: z.string().nullish(),
  Target: z.string(),
});

/** Each answer has it; empty: it worked. */
export interface ErrResponse {
  readonly Err: string;
}

export interface ActivateResponse {
  readonly Implements: readonly string[];
}

export const activated: ActivateResponse = { Implements: ['VolumeDriver'] };

export interface CapabilitiesResponse {
  readonly Capabilities: { readonly Scope: Scope };
}

/** `global`: what one engine creates, all see. */
export type Scope = 'local' | 'global';

export interface MountResponse extends ErrResponse {
  readonly Mountpoint: string;
}

export interface GetResponse extends ErrResponse {
  readonly Volume: {
    readonly Name: string;
    readonly Mountpoint?: string;
    /** RFC 3339, or absent: with anything else the engine takes the volume for gone. */
    readonly CreatedAt?: string;
    /** Shown by `docker volume inspect`. */
    readonly Status: object;
  };
}

export interface ListResponse extends ErrResponse {
  readonly Volumes: readonly { readonly Name: string; readonly Mountpoint?: string }[];
}
