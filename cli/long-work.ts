import type { HolderReply, LongWorkStep } from '../plugin/admin/api.ts';
import { humanSize } from '../plugin/http/human-size.ts';
import type { Context } from './context.ts';
import { holderText } from './format.ts';

/**
 * Follows a long operation to its end and returns its result. On a terminal one line shows the
 * progress; whom it waits for is printed everywhere.
 */
export async function followWork<T extends object>(
  { stderr, json }: Context,
  steps: AsyncIterable<LongWorkStep<T>>,
): Promise<T | undefined> {
  const showsProgress = stderr.isTTY === true && !json;
  let isLineOpen = false;
  const line = (text: string) => {
    stderr.write(`\r\u001b[K${text}`);
    isLineOpen = text !== '';
  };
  try {
    for await (const step of steps) {
      if (step.event === 'waiting' && !json) {
        if (isLineOpen) line('');
        stderr.write(waitingText(step.holders));
      }
      if (step.event === 'progress' && showsProgress) line(progressText(step));
      if (step.event === 'done') return step;
    }
    return undefined;
  } finally {
    if (isLineOpen) line('');
  }
}

export function waitingText(holders: readonly HolderReply[]): string {
  return holders.map((holder) => `waiting for ${holderText(holder)}\n`).join('');
}

function progressText({
  doneBytes,
  totalBytes,
}: {
  readonly doneBytes: number;
  readonly totalBytes: number;
}): string {
  const percent = totalBytes === 0 ? 100 : Math.floor((doneBytes / totalBytes) * 100);
  return `${percent} % (${humanSize(doneBytes)} of ${humanSize(totalBytes)})`;
}
