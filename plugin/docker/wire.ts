import { z } from 'zod';

/*
 * Docker's volume plugin protocol, version 1.2, with its capitalised names. Unknown fields are
 * ignored, as the engine's own decoder ignores them.
 */

export const contentType = 'application/vnd.docker.plugins.v1.2+json';

export const nameRequest = z.object({ Name: z.string() });

export const createRequest = z.object({
  Name: z.string(),
  /** Null when no option was given. */
  Opts: z.record(z.string(), z.string()).nullish(),
});

/** The ID names a user of the volume, mostly a container. Several calls may use one ID. */
export const mountRequest = z.object({ Name: z.string(), ID: z.string().min(1, 'is empty') });

/** An addition of berth, for scripts that can reach only this socket. */
export const snapshotRequest = z.object({ Name: z.string(), Snapshot: z.string() });

/** An addition of berth. Without a snapshot, or with an empty name, it copies the volume itself. */
export const copyRequest = z.object({
  Name: z.string(),
  Snapshot: z.string().nullish(),
  Target: z.string(),
});

/** The part that all answers share; an empty `Err` means success. */
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

/** `global`: a volume that one engine creates is visible to all. */
export type Scope = 'local' | 'global';

export interface MountResponse extends ErrResponse {
  readonly Mountpoint: string;
}

export interface GetResponse extends ErrResponse {
  readonly Volume: {
    readonly Name: string;
    readonly Mountpoint?: string;
    /** RFC 3339, or absent: any other text means to the engine that the volume is gone. */
    readonly CreatedAt?: string;
    /** Shown by `docker volume inspect`. */
    readonly Status: object;
  };
}

export interface ListResponse extends ErrResponse {
  readonly Volumes: readonly { readonly Name: string; readonly Mountpoint?: string }[];
}
