/** Why a volume operation was refused. Interfaces map these to their own codes. */
export type VolumeErrorCode =
  | 'invalid'
  | 'not-found'
  | 'exists'
  | 'in-use'
  | 'disabled'
  | 'not-still'
  | 'command-failed'
  | 'unavailable';

/** Every expected failure of a volume operation, with a message for the person who asked. */
export abstract class VolumeError extends Error {
  abstract readonly code: VolumeErrorCode;
}

/** Bad input: a name, an option, a combination that can't work. Nothing was changed. */
export class InvalidRequestError extends VolumeError {
  readonly code = 'invalid';
  override readonly name = 'InvalidRequestError';
}

/** The mount ID is none that an engine makes. */
export class InvalidMountIdError extends InvalidRequestError {}

/** There is no such volume or snapshot. */
export class NotFoundError extends VolumeError {
  readonly code = 'not-found';
  override readonly name = 'NotFoundError';
}

/** A volume or snapshot of that name exists. Nothing was changed. */
export class ExistsError extends VolumeError {
  readonly code = 'exists';
  override readonly name = 'ExistsError';
}

/** The volume is held by somebody else, or is still needed. The message names the holder. */
export class InUseError extends VolumeError {
  readonly code = 'in-use';
  override readonly name = 'InUseError';
}

/** An operator has disabled the volume: nobody may start to use it. Nothing was changed. */
export class DisabledError extends VolumeError {
  readonly code = 'disabled';
  override readonly name = 'DisabledError';
}

/** The volume's users did not stand still for as long as a copy of one moment takes. Nothing was changed. */
export class NotStillError extends VolumeError {
  readonly code = 'not-still';
  override readonly name = 'NotStillError';
}

/** A command in a container that the caller wanted around a copy has failed. No copy was kept. */
export class CommandFailedError extends VolumeError {
  readonly code = 'command-failed';
  override readonly name = 'CommandFailedError';
}

/** The pool does not have the mark that a caller has named (DriverContext). Nothing was changed. */
export class PoolMarkError extends VolumeError {
  readonly code = 'unavailable';
  override readonly name = 'PoolMarkError';
}

/** The request can't be answered at the moment, for example while the store is away. Nothing was changed. */
export class UnavailableError extends VolumeError {
  readonly code = 'unavailable';
  override readonly name = 'UnavailableError';
}
