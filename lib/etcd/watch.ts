import type { IEvent, IWatchRequest, IWatchResponse } from 'etcd3';
import type { EtcdHeaders } from './headers.ts';

/** One open watch. */
export interface EtcdWatch {
  /** Resolves with the reason when the watch has ended. */
  readonly ended: Promise<string>;
  /** The watch has ended because etcd has compacted revisions that it had not reported yet. */
  readonly isCompacted: boolean;
  /**
   * Resolves with true when all changes up to this revision have been reported, and with false if the watch
   * ended before. Only for a release that `tellsProgress`; a gRPC proxy of etcd never answers.
   */
  caughtUp(revision: number): Promise<boolean>;
  close(): void;
}

export interface WatchOptions {
  readonly range: { readonly key: Buffer; readonly range_end: Buffer };
  readonly startRevision: number;
  /** Called with the changes of one revision or more, all of each. */
  readonly onEvents: (events: readonly IEvent[], revision: number) => void;
  readonly headers: EtcdHeaders;
}

/** The pause before the question is repeated; etcd ignores it while the watch is behind. */
const firstAskMs = 100;
const longestAskMs = 2_000;

/**
 * True if a release of etcd answers a request for the progress of a watch only when the watch has caught
 * up. Earlier ones answer at once, before they have reported what was missed (etcd's issue 15220).
 */
export function tellsProgress(version: string): boolean {
  const [major = 0, minor = 0, patch = 0] = version.split(/[.-]/).map(Number);
  if (major !== 3) return major > 3;
  if (minor === 4) return patch >= 25;
  if (minor === 5) return patch >= 8;
  return minor > 5;
}

/**
 * True if a watch of this release reports all changes: earlier ones lose some of a slow watch when etcd compacts. (Up
 * to 3.4.35 and 3.5.17, a watch that begins at the compacted revision lacks its deletions.)
 */
export function reportsAll(version: string): boolean {
  const [major = 0, minor = 0, patch = 0] = version.split(/[.-]/).map(Number);
  if (major !== 3) return major > 3;
  if (minor === 4) return patch >= 31;
  if (minor === 5) return patch >= 13;
  return minor > 5;
}

/** Opens one watch on a stream. */
export function watchOn(stream: WatchStream, options: WatchOptions): EtcdWatch {
  const { range, startRevision, onEvents, headers } = options;
  const ended = Promise.withResolvers<string>();
  let progress: PromiseWithResolvers<boolean> | undefined;
  let wantedRevision = 0;
  let isCompacted = false;
  const end = (reason: string) => {
    ended.resolve(reason);
    progress?.resolve(false);
  };
  const broken = (reason: string) => {
    headers.suspect();
    end(reason);
  };
  stream.on('data', (message) => {
    headers.heard(message.header, 0);
    if (message.canceled) {
      const compacted = Number(message.compact_revision);
      isCompacted = compacted > 0;
      end(isCompacted ? `compacted at ${compacted}` : message.cancel_reason);
    } else if (message.events.length > 0) {
      try {
        onEvents(message.events, Number(message.header.revision));
      } catch (error) {
        end(String(error)); // An error thrown in this listener would end the process.
      }
    } else if (!message.created && Number(message.header.revision) >= wantedRevision) {
      progress?.resolve(true); // Else it is a member that is behind the others.
    }
  });
  stream.on('error', (error) => broken(error.message));
  stream.on('end', () => broken('the stream ended'));
  stream.write({ create_request: { ...range, start_revision: String(startRevision) } });

  /** Asks again and again: etcd answers only when the watch has nothing left to report. */
  async function ask(answer: PromiseWithResolvers<boolean>): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined;
    const askAgain = (pauseMs: number) => {
      stream.write({ progress_request: {} });
      timer = setTimeout(askAgain, pauseMs, Math.min(2 * pauseMs, longestAskMs));
      timer.unref();
    };
    askAgain(firstAskMs);
    try {
      return await answer.promise;
    } finally {
      clearTimeout(timer);
    }
  }

  return {
    ended: ended.promise,
    get isCompacted() {
      return isCompacted;
    },
    caughtUp: async (revision) => {
      wantedRevision = revision;
      progress = Promise.withResolvers();
      void ended.promise.then(() => progress?.resolve(false));
      return await ask(progress);
    },
    close: () => {
      end('closed');
      stream.cancel();
    },
  };
}

/** The part of etcd3's stream that is used here. */
interface WatchStream {
  on(event: 'data', listener: (answer: IWatchResponse) => void): unknown;
  on(event: 'error', listener: (error: Error) => void): unknown;
  on(event: 'end', listener: () => void): unknown;
  write(request: IWatchRequest): unknown;
  cancel(): void;
}
