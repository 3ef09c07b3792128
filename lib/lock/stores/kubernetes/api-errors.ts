import { StoreRefusedError, StoreUnavailableError } from '../../errors.ts';

/** An answer that the caller may expect. This call has written nothing. */
export class ApiFailure extends StoreRefusedError {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** 404: there is no such object. 409: it was changed meanwhile, or exists. 422: a test of a patch failed. */
const answers: readonly number[] = [404, 409, 422];

/** Returns the error for an answer of the API server that is not a success. */
export function explainAnswer(
  status: number,
  text: string,
  { server, what }: { readonly server: string; readonly what: string },
): Error {
  const message = messageIn(text);
  if (answers.includes(status)) {
    return new ApiFailure(status, `the API server ${server} refuses ${what}: ${message}`);
  }
  if (status === 401 || status === 403) {
    return new StoreRefusedError(
      `the API server ${server} refuses ${what}: ${message}; give the account the rules of docs/kubernetes.md`,
    );
  }
  if (status === 413) return new StoreRefusedError(`the API server ${server} refuses: ${message}`);
  return new StoreUnavailableError(`the API server ${server} answers ${status}: ${message}`);
}

/** True if the API server says that an object does not exist, or was changed meanwhile. */
export function hasStatus(error: unknown, status: number): boolean {
  return error instanceof ApiFailure && error.status === status;
}

function messageIn(text: string): string {
  try {
    const { message } = JSON.parse(text) as { message?: string };
    if (message) return message;
  } catch {
    // A proxy in between answers in another way.
  }
  return text.trim().slice(0, 200) || 'no reason given';
}
