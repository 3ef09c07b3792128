import type { HolderReply } from '../plugin/admin/api/locks.ts';
import type { LongWorkStep, ProgressReply } from '../plugin/admin/api/long-work.ts';
import { humanSize } from '../plugin/http/human-size.ts';
import type { Context } from './context.ts';
import { holderText } from './format.ts';

/** How often the progress is printed where no terminal shows it. */
const printEveryMs = 10_000;

/**
 * Follows a long operation to its end and returns its result. On a terminal one line shows the
 * progress, elsewhere a new line every 10 s; whom it waits for is printed everywhere.
 */
export async function followWork<T extends object>(
  { stderr, json }: Pick<Context, 'stderr' | 'json'>,
  steps: AsyncIterable<LongWorkStep<T>>,
  now: () => number = () => performance.now(),
): Promise<T | undefined> {
  const isTerminal = stderr.isTTY === true;
  let printedAt = now();
  let isLineOpen = false;
  const line = (text: string) => {
    stderr.write(`\r\u001b[K${text}`);
    isLineOpen = text !== '';
  };
  const show = (progress: ProgressReply) => {
    if (isTerminal) line(progressText(progress));
    else if (now() - printedAt >= printEveryMs) {
      printedAt = now();
      stderr.write(`${progressText(progress)}\n`);
    }
  };
  try {
    for await (const step of steps) {
      if (step.event === 'waiting' && !json) {
        if (isLineOpen) line('');
        stderr.write(waitingText(step.holders));
      }
      if (step.event === 'progress' && !json) show(step);
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

function progressText({ doneBytes, totalBytes, doneFiles, totalFiles }: ProgressReply): string {
  const percent = totalBytes === 0 ? 100 : Math.floor((doneBytes / totalBytes) * 100);
  const files = totalFiles === undefined ? '' : `, ${doneFiles} of ${totalFiles} files`;
  return `${percent} % (${humanSize(doneBytes)} of ${humanSize(totalBytes)}${files})`;
}
