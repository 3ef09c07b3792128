import { setTimeout as delay } from 'node:timers/promises';

export interface StageOptions {
  /** The factor for pauses; 1 leaves time to read. */
  readonly pace: number;
}

/** The terminal: lines that stay, and below them one line that is redrawn. */
export interface Stage extends Disposable {
  /** Aborts at Ctrl-C. */
  readonly signal: AbortSignal;
  /** Prints the headline of a step. */
  step(text: string): void;
  /** Prints a line of the step. */
  say(text: string): void;
  /** Leaves time to read. Rejects when the signal aborts. */
  pause(seconds: number): Promise<void>;
  /** Redraws a line until `during` has settled. */
  watch<T>(line: () => Promise<string>, during: Promise<T>): Promise<T>;
}

const redrawMs = 200;
/** The pause where a line can't be overwritten, so that each is a new line. */
const plainRedrawMs = 1_000;

export function openStage({ pace }: StageOptions): Stage {
  const { stdin, stdout } = process;
  const stopping = new AbortController();
  const { signal } = stopping;
  const stop = () => stopping.abort(new Error('stopped by Ctrl-C'));
  const onKeys = (keys: Buffer) => {
    if (keys.includes('\u0003')) stop();
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
  // In raw mode Ctrl-C is a key, not a signal that would also reach the engines and etcd.
  const isKeyboard = stdin.isTTY;
  if (isKeyboard) stdin.setRawMode(true).on('data', onKeys);

  let steps = 0;
  const paint = (code: number, text: string) =>
    stdout.isTTY && !process.env.NO_COLOR ? `\u001b[${code}m${text}\u001b[0m` : text;
  const erase = () => stdout.isTTY && stdout.write('\r\u001b[K');
  const write = (line: string) => stdout.write(`${line}\n`);

  async function watch<T>(line: () => Promise<string>, during: Promise<T>): Promise<T> {
    const done = new AbortController();
    const settled = () => done.abort();
    during.then(settled, settled);
    const until = AbortSignal.any([signal, done.signal]);
    let last = '';
    while (!until.aborted) {
      const text = await line();
      if (stdout.isTTY) stdout.write(`\r\u001b[K   ${paint(36, text)}`);
      else if (text !== last) write(`   ${text}`);
      last = text;
      await delay(stdout.isTTY ? redrawMs : plainRedrawMs, undefined, { signal: until }).catch(
        () => {
          // `during` has settled or the demo stops; the loop's condition ends it.
        },
      );
    }
    if (stdout.isTTY) stdout.write('\n');
    signal.throwIfAborted();
    return await during;
  }

  return {
    signal,
    step: (text) => {
      steps += 1;
      write(`\n${paint(1, `${steps}. ${text}`)}`);
    },
    say: (text) => {
      erase();
      write(`   ${text}`);
    },
    pause: async (seconds) => {
      await delay(seconds * 1_000 * pace, undefined, { signal });
    },
    watch,
    [Symbol.dispose]: () => {
      process.off('SIGINT', stop);
      process.off('SIGTERM', stop);
      if (isKeyboard) stdin.setRawMode(false).off('data', onKeys).pause();
    },
  };
}
